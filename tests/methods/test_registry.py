"""Methods by name."""

from __future__ import annotations

import pytest
import torch

from activations import labels, of_network
from nndistill.errors import StageMismatch, UnknownName, UserError
from nndistill.methods import METHODS, build_method, option_names

KINDS = ("encoder", "decoder", "logits")


@pytest.mark.parametrize("name", [*sorted(METHODS), "dcd+logits"])
def test_every_method_gives_a_scalar_with_gradient_in_what_it_needs(name):
    method = build_method(name, student_channels=[2, 4], teacher_channels=[4, 8]).double()
    student = of_network([2, 4], gradient=True)
    loss = method(student, of_network([4, 8], seed=5), labels(3, space=(8, 8, 8)))
    assert loss.shape == ()
    assert loss.requires_grad == bool(method.needs)
    if method.needs:
        loss.backward()
    reached = {kind: any(x.grad is not None for x in _listed(getattr(student, kind))) for kind in KINDS}
    assert {kind for kind in KINDS if reached[kind]} == method.needs
    assert all((parameter.grad is not None) == parameter.requires_grad for parameter in method.parameters())


def _listed(activations):
    return activations if isinstance(activations, list) else [activations]


def test_feature_equals_its_definition():
    method = build_method("feature", student_channels=[2, 4], teacher_channels=[4, 8]).double()
    student, teacher = of_network([2, 4]), of_network([4, 8], seed=5)
    expected = sum(
        ((torch.einsum("ts,bsdhw->btdhw", phi.weight.flatten(1), s) + phi.bias[:, None, None, None] - t) ** 2).mean()
        for phi, s, t in zip(method.phi, student.encoder, teacher.encoder, strict=True)
    )
    torch.testing.assert_close(method(student, teacher), expected)


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


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("dcd", {"bands": 3}),
        ("dcd", {"level": "two"}),
        ("dist", {"inter": "1"}),
        ("logits", {"regions": "maybe"}),
        ("dcd+logits", {"logits.regions": "maybe"}),
    ],
)
def test_value_of_a_wrong_type_names_the_option(name, options):
    ((option, value),) = options.items()
    told = rf"option {option.split('.')[-1]} of method '\w+': .*Input should be .*\(given: {value!r}\)"
    with pytest.raises(UserError, match=told):
        build_method(name, student_channels=[1], teacher_channels=[1], **options)


@pytest.mark.parametrize(("name", "option", "near"), [("dcd", "domain", "spatial"), ("cwd", "match", "encoder")])
def test_value_of_few_suggests_the_nearest(name, option, near):
    with pytest.raises(UnknownName, match=rf"no {option} of method '{name}' .* Did you mean '{near}'\? Known: "):
        build_method(name, student_channels=[1], teacher_channels=[1], **{option: near[:-1]})


def test_what_is_known_of_the_targets_goes_to_the_methods_that_ask_and_is_no_option():
    known = {"student_channels": [2], "teacher_channels": [4], "classes": 3, "ignores": True}
    assert build_method("ifvd", **known).classes == 3
    assert build_method("logits", **known).ignores
    assert not hasattr(build_method("feature", **known), "classes")
    parts = build_method("emkd+dist", **known).parts
    assert (parts["emkd"].classes, parts["emkd"].logits.ignores, parts["dist"].ignores) == (3, True, True)
    assert not {"classes", "ignores"} & {option.split(".")[-1] for name in METHODS for option in option_names(name)}


@pytest.mark.parametrize("name", ["ifvd", "emkd", "reco-kd", "logits", "dist", "cirkd"])
@pytest.mark.parametrize("left_out", [False, True])
def test_knowing_the_targets_beforehand_changes_nothing(name, left_out):
    target = labels(3, space=(8, 8, 8))
    if left_out:
        target[:, :, :3] = -1
    torch.manual_seed(0)
    looks = build_method(name, student_channels=[2, 4], teacher_channels=[4, 8]).double()
    knows = build_method(
        name, student_channels=[2, 4], teacher_channels=[4, 8], classes=5, ignores=left_out
    ).double()  # two of the five classes are missing in this target
    knows.load_state_dict(looks.state_dict())
    student, teacher = of_network([2, 4]), of_network([4, 8], seed=5)
    torch.testing.assert_close(knows(student, teacher, target), looks(student, teacher, target))
