"""Attention transfer compares where a stage is active, all channels together."""

from __future__ import annotations

import math

import pytest
import torch

from activations import SPACE, of_network, volume
from nndistill.errors import StageMismatch, UnknownName
from nndistill.methods import Activations, AttentionTransfer
from nndistill.methods.parts.reductions import channel_energy


def loss(student, teacher, **options):
    return AttentionTransfer([1], [1], **options)(Activations([student]), Activations([teacher]))


def plain_loss(student: torch.Tensor, teacher: torch.Tensor, reduction: str) -> float:
    squares = []
    for sample in range(len(student)):
        maps = []
        for features in (student[sample], teacher[sample]):
            attention = [sum(v * v for v in voxel) for voxel in features.flatten(1).T.tolist()]
            length = math.sqrt(sum(a * a for a in attention))
            maps.append([a / length for a in attention])
        squares += [(a - b) ** 2 for a, b in zip(*maps, strict=True)]
    return sum(squares) / {"sum": len(student), "mean": len(squares)}[reduction]


@pytest.mark.parametrize("reduction", ["sum", "mean"])
def test_loss_equals_the_plain_definition_summed_over_stages(reduction):
    student, teacher = of_network([2, 4]), of_network([3, 8], seed=5)
    expected = sum(plain_loss(s, t, reduction) for s, t in zip(student.encoder, teacher.encoder, strict=True))
    method = AttentionTransfer([2, 4], [3, 8], reduction=reduction)
    assert method(student, teacher).item() == pytest.approx(expected, rel=1e-10)


def test_sum_over_positions_is_the_default():
    s, t = volume(2, 3, *SPACE), volume(2, 4, *SPACE, seed=1)
    assert loss(s, t) == loss(s, t, reduction="sum")
    torch.testing.assert_close(loss(s, t), math.prod(SPACE) * loss(s, t, reduction="mean"))


def test_more_positions_do_not_weaken_the_sum():
    """Two volumes side by side, each as far from its teacher as before: the same distance; the mean is halved."""
    s, t = volume(1, 3, *SPACE), volume(1, 4, *SPACE, seed=1)
    twice = [torch.cat([x, x], dim=-1) for x in (s, t)]
    torch.testing.assert_close(loss(*twice), loss(s, t))
    torch.testing.assert_close(loss(*twice, reduction="mean"), loss(s, t, reduction="mean") / 2)


@pytest.mark.parametrize("reduction", ["sum", "mean"])
def test_gradients_are_exact(reduction):
    s, t = volume(2, 3, 2, 3, 2).requires_grad_(), volume(2, 4, 2, 3, 2, seed=1)
    assert torch.autograd.gradcheck(lambda x: loss(x, t, reduction=reduction), (s,))
    assert torch.autograd.gradcheck(channel_energy, (s,))


def test_equal_features_cost_nothing():
    s = volume(2, 3, *SPACE)
    assert loss(s, s) == 0


def test_scale_sign_and_order_of_channels_do_not_matter():
    s, t = volume(2, 3, *SPACE), volume(2, 3, *SPACE, seed=1)
    torch.testing.assert_close(loss(-7 * s[:, [2, 0, 1]], t), loss(s, t))
    torch.testing.assert_close(loss(s, 0.1 * t), loss(s, t))


def test_features_of_zero_give_a_finite_gradient():
    s = torch.zeros(1, 3, *SPACE, requires_grad=True)
    loss(s, volume(1, 4, *SPACE).float()).backward()
    assert s.grad.isfinite().all()


def test_half_precision_features_are_compared_in_single():
    s, t = (200 * volume(1, c, *SPACE).half() for c in (2, 4))  # squares of which half precision cannot hold
    half = loss(s.requires_grad_(), t)
    half.backward()
    assert half.dtype == torch.float32
    assert s.grad.dtype == torch.float16
    torch.testing.assert_close(half, loss(s.float(), t.float()))


@pytest.mark.parametrize("shape", [(2, 3, *SPACE), (1, 7, 5), (2, 1, 1, 3, 1)])
@pytest.mark.parametrize("chunk", [1, 20, 1 << 19])
def test_energy_is_the_sum_of_squares_whatever_the_chunks(shape, chunk, monkeypatch):
    monkeypatch.setattr("nndistill.methods.parts.reductions.CHUNK_ELEMENTS", chunk)
    features = volume(*shape)
    torch.testing.assert_close(channel_energy(features), features.square().sum(1))
    torch.testing.assert_close(channel_energy(features.half()), features.half().float().square().sum(1))


def test_energy_saves_nothing_beside_the_features():
    saved = []
    with torch.autograd.graph.saved_tensors_hooks(lambda x: saved.append(x.data_ptr()) or x, lambda x: x):
        features = volume(1, 3, *SPACE).requires_grad_()
        channel_energy(features)
    assert saved == [features.data_ptr()]


def test_networks_that_do_not_fit_are_refused():
    with pytest.raises(StageMismatch, match="1 stages and the teacher 2"):
        AttentionTransfer([2], [4, 8])
    with pytest.raises(StageMismatch, match="unequal size at stage 0"):
        loss(volume(1, 3, *SPACE), volume(1, 3, 4, 6, 4))


def test_unknown_reduction_suggests_the_nearest():
    with pytest.raises(UnknownName, match="Did you mean 'mean'"):
        AttentionTransfer([2], [4], reduction="means")
