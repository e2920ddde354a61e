"""Methods by name."""

from __future__ import annotations

import pytest
import torch

from nndistill.errors import StageMismatch, UnknownName
from nndistill.methods import METHODS, Activations, build_method


def _features(*channels: int) -> list[torch.Tensor]:
    return [torch.randn(2, c, 8 >> i, 8 >> i, 8 >> i, dtype=torch.float64) for i, c in enumerate(channels)]


@pytest.mark.parametrize("name", sorted(METHODS))
def test_every_method_gives_a_scalar_with_gradient_where_it_compares(name):
    method = build_method(name, student_channels=[2, 4], teacher_channels=[4, 8]).double()
    student = [f.requires_grad_() for f in _features(2, 4)]
    loss = method(Activations(encoder=student), Activations(encoder=_features(4, 8)))
    assert loss.shape == ()
    assert loss.requires_grad == bool(method.needs)


def test_feature_equals_its_definition():
    method = build_method("feature", student_channels=[2, 4], teacher_channels=[4, 8]).double()
    student, teacher = _features(2, 4), _features(4, 8)
    expected = sum(
        ((torch.einsum("ts,bsdhw->btdhw", phi.weight.flatten(1), s) + phi.bias[:, None, None, None] - t) ** 2).mean()
        for phi, s, t in zip(method.phi, student, teacher, strict=True)
    )
    torch.testing.assert_close(method(Activations(encoder=student), Activations(encoder=teacher)), expected)


def test_unknown_method_suggests_the_nearest():
    with pytest.raises(UnknownName, match="Did you mean 'feature'"):
        build_method("featur", student_channels=[1], teacher_channels=[1])


def test_unknown_option_suggests_the_nearest():
    with pytest.raises(UnknownName, match="Did you mean 'wavelet'"):
        build_method("dcd", student_channels=[1], teacher_channels=[1], wavelt="db4")


def test_unknown_wavelet_suggests_the_nearest():
    with pytest.raises(UnknownName, match="Did you mean 'db"):
        build_method("dcd", student_channels=[1], teacher_channels=[1], wavelet="bd4")


def test_different_numbers_of_stages_are_refused():
    with pytest.raises(StageMismatch, match="2 stages and the teacher 3"):
        build_method("feature", student_channels=[1, 2], teacher_channels=[1, 2, 3])
