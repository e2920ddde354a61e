"""ReCo-KD compares features under masks of the classes and the teacher's attention, and the attentions."""

from __future__ import annotations

import pytest
import torch
from torch.nn.functional import interpolate, mse_loss

from activations import SPACE, labels, of_network, volume
from nndistill.errors import StageMismatch, UserError
from nndistill.methods import Activations, ReCoKD
from plain_reco import plain_relation, plain_stage_loss

SIZES = [SPACE, (7, 5, 3), (1, 2, 9), (8, 8, 8)]


def method(student: int = 3, teacher: int = 7, **options) -> ReCoKD:
    torch.manual_seed(0)
    return ReCoKD([student], [teacher], **options).double()


def loss(reco: ReCoKD, student, teacher, target):
    return reco(Activations([student]), Activations([teacher]), target)


def masks_of(target: torch.Tensor) -> tuple[list[list[torch.Tensor]], list[torch.Tensor]]:
    """Foreground classes and background of labels, or regions and what is outside of them."""
    if target.shape[1] > 1:
        return [list(sample > 0) for sample in target], [(sample == 0).all(0) for sample in target]
    classes = range(1, int(target.max()) + 1)
    return [[sample[0] == k for k in classes] for sample in target], [sample[0] == 0 for sample in target]


def expected(reco: ReCoKD, student, teacher, target):
    return plain_stage_loss(reco.phi[0](student), teacher, *masks_of(target), reco.temperature)


def check_value_and_gradient(reco: ReCoKD, student, teacher, target) -> None:
    results = []
    for compute in (loss, expected):
        s = student.clone().requires_grad_()
        value = compute(reco, s, teacher, target)
        results.append((value.detach(), *torch.autograd.grad(value, s)))
    torch.testing.assert_close(*results, rtol=1e-9, atol=1e-13)


@pytest.mark.parametrize("space", SIZES)
@pytest.mark.parametrize("chunk", [1, 1 << 19])
def test_loss_and_gradient_equal_the_plain_definition(space, chunk, monkeypatch):
    monkeypatch.setattr("nndistill.methods.parts.attended_distance.CHUNK_ELEMENTS", chunk)
    s, t = volume(2, 3, *space), volume(2, 7, *space, seed=1)
    check_value_and_gradient(method(), s, t, labels(4, space=space))
    check_value_and_gradient(method(temperature=2.0), s, t, labels(4, space=space))


def test_class_that_is_missing_in_a_sample_or_everywhere_changes_nothing():
    s, t, target = volume(2, 3, *SPACE), volume(2, 7, *SPACE, seed=1), labels(4)
    target[0][target[0] == 2] = 0
    target[target == 3] = 5
    check_value_and_gradient(method(), s, t, target)


@pytest.mark.parametrize("value", [0, 1])
def test_target_without_foreground_or_background_is_no_special_case(value):
    s, t = volume(2, 3, *SPACE), volume(2, 7, *SPACE, seed=1)
    target = torch.full((2, 1, *SPACE), value)
    check_value_and_gradient(method(), s, t, target)
    target[0, :, 0] = 1 - value
    check_value_and_gradient(method(), s, t, target)


def test_smallest_of_overlapping_regions_decides():
    s, t = volume(2, 3, *SPACE), volume(2, 7, *SPACE, seed=1)
    regions = torch.cat([labels(3) > 0, labels(3) > 1], dim=1).to(torch.int8)
    check_value_and_gradient(method(), s, t, regions)


@pytest.mark.parametrize("regions", [False, True])
def test_voxels_left_out_by_the_target_are_in_neither_mask(regions):
    s, t, target = volume(2, 3, *SPACE), volume(2, 7, *SPACE, seed=1), labels(3)
    if regions:
        target = torch.cat([target > 0, target > 1], dim=1).to(torch.int8)
    target[:, :, 2:] = -1
    check_value_and_gradient(method(), s, t, target)
    reco = method()
    none = loss(reco, s, t, torch.full_like(target, -1))
    torch.testing.assert_close(none, expected(reco, s, t, torch.full_like(target, -1)))


def test_foreground_is_the_mean_of_the_classes_that_are_there():
    """Under uniform attention: a class of two voxels counts as much as one of a hundred."""
    t = torch.ones(1, 4, *SPACE, dtype=torch.float64)
    s = t.clone()
    target = torch.zeros(1, 1, *SPACE, dtype=torch.long)
    target[0, 0, 0], target[0, 0, 1, 0, :2] = 1, 2
    s[0, :, 1, 0, :2] += 0.5  # only the small class differs
    reco = method(4, 4, temperature=1e6)  # so high that attention is uniform and equal
    foreground = 0.5**2 / 2
    everywhere = 0.5**2 * 2 / target.numel()
    assert loss(reco, s, t, target).item() == pytest.approx(foreground + everywhere, rel=1e-4)


def test_stages_decay_and_the_last_is_left_out():
    channels = [2, 3, 4, 5, 6, 7]
    assert ReCoKD(channels, channels).stage_weights == pytest.approx(
        [0.57369, 0.24971, 0.10869, 0.04731, 0.02059], abs=1e-5
    )
    assert ReCoKD([2, 3], [2, 3], stage_alpha=0.0, drop_last_stage=False).stage_weights == [0.5, 0.5]
    assert ReCoKD([2], [3]).stage_weights == [1]


def test_stages_are_summed_with_their_weights_and_labels_are_nearest_to_a_voxels_centre():
    reco = ReCoKD([2, 3, 4], [4, 6, 8]).double()
    student, teacher = of_network([2, 3, 4]), of_network([4, 6, 8], seed=5)
    target = labels(3, space=(8, 8, 8))
    ratio = 2**-1.2
    total = 0
    for k, (s, t) in enumerate(zip(student.encoder[:2], teacher.encoder[:2], strict=True)):
        at_stage = target if k == 0 else target[:, :, 1::2, 1::2, 1::2]
        assert torch.equal(at_stage.double(), interpolate(target.double(), s.shape[2:], mode="nearest-exact"))
        total += ratio**k / (1 + ratio) * plain_stage_loss(reco.phi[k](s), t, *masks_of(at_stage), 0.5)
    torch.testing.assert_close(reco(student, teacher, target), total)


def test_projection_is_frozen_as_in_the_source_unless_asked_for():
    frozen = ReCoKD([2, 4, 4], [4, 4, 8])
    assert isinstance(frozen.phi[1], torch.nn.Identity)  # channels agree
    assert not frozen.contexts
    assert not any(parameter.requires_grad for parameter in frozen.parameters())
    assert {"phi.0.weight", "phi.0.bias"} == set(frozen.state_dict())  # a resumed training needs the same map
    trained = ReCoKD([2, 4, 4], [4, 4, 8], train_phi=True)
    assert all(parameter.requires_grad for parameter in trained.parameters())
    assert len(trained.contexts) == 2


def test_untrained_context_changes_nothing_and_then_learns():
    s, t, target = volume(2, 3, *SPACE), volume(2, 7, *SPACE, seed=1), labels(3)
    trained = method(train_phi=True)
    torch.testing.assert_close(loss(trained, s, t, target), expected(trained, s, t, target))
    loss(trained, s, t, target).backward()
    assert all(parameter.grad is not None for parameter in trained.parameters())
    assert trained.contexts[0].student.what[3].weight.grad.abs().sum() > 0


@pytest.mark.parametrize("channels", [2, 7])
def test_trained_context_equals_the_sources_convolutions(channels):
    s, t, target = volume(2, 3, *SPACE), volume(2, channels, *SPACE, seed=1), labels(3)
    trained = method(teacher=channels, train_phi=True)
    for i, parameter in enumerate(trained.contexts.parameters()):
        parameter.data = volume(*parameter.shape, seed=i)
    projected = trained.phi[0](s)
    of_student, of_teacher = (
        plain_relation(features, dict(context.named_parameters()))
        for features, context in (
            (projected, trained.contexts[0].student),
            (t, trained.contexts[0].teacher),
        )
    )
    plain = expected(trained, s, t, target) - mse_loss(projected, t) + mse_loss(of_student, of_teacher)
    value = loss(trained, s, t, target)
    torch.testing.assert_close(value, plain)
    parameters = list(trained.parameters())
    gradients = (torch.autograd.grad(x, parameters, retain_graph=True) for x in (value, plain))
    torch.testing.assert_close(*gradients, rtol=1e-8, atol=1e-12)


def test_gradients_are_exact():
    reco = method(2, 3)
    s, t, target = volume(2, 2, 2, 3, 2), volume(2, 3, 2, 3, 2, seed=1), labels(3, space=(2, 3, 2))
    assert torch.autograd.gradcheck(lambda x: loss(reco, x, t, target), (s.requires_grad_(),))


def test_equal_features_cost_nothing():
    s = volume(2, 3, *SPACE)
    assert loss(method(3, 3), s, s, labels(3)) == 0


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_features_are_compared_in_single(dtype):
    """A stage has more voxels than half precision can count, and gradients below its smallest number."""
    reco = ReCoKD([2], [4])
    student, teacher = ((2 * volume(1, c, 42, 42, 42)).to(dtype) for c in (2, 4))
    target = labels(3, batch=1, space=(42, 42, 42))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        half = loss(reco, student.requires_grad_(), teacher, target)
    (2.0**16 * half).backward()  # as a gradient scaler does
    assert student.grad.isfinite().all()
    assert student.grad.abs().sum() > 0
    torch.testing.assert_close(half, loss(reco, student.detach().float(), teacher.float(), target))


def test_mistakes_are_told_in_a_sentence():
    s, t = volume(1, 3, *SPACE), volume(1, 7, *SPACE)
    with pytest.raises(UserError, match="needs the target"):
        loss(method(), s, t, None)
    with pytest.raises(UserError, match="temperature 0 is not possible"):
        method(temperature=0)
    with pytest.raises(UserError, match="stage_alpha must be a number of at least 0, not -1"):
        method(stage_alpha=-1)
    with pytest.raises(StageMismatch, match="unequal size at stage 0"):
        loss(method(), s, t[..., 1:], labels(2, batch=1))
    with pytest.raises(StageMismatch, match="1 stages and the teacher 2"):
        ReCoKD([2], [4, 8])
