"""EMKD compares predictions, importance maps and the affinity of classes."""

from __future__ import annotations

import pytest
import torch
from torch.nn.functional import cosine_similarity

from activations import SPACE, labels, of_network, volume
from nndistill.errors import StageMismatch, UserError
from nndistill.methods import EMKD, Activations
from plain_emkd import plain_affinity, plain_importance, plain_prediction, plain_prediction_of_regions

SIZES = [SPACE, (7, 5, 3), (1, 2, 9), (8, 8, 8)]


def activations(channels: int, space=SPACE, *, classes: int = 4, seed: int = 0) -> Activations:
    """One encoder stage, as large as the logits."""
    return Activations(
        encoder=[volume(2, channels, *space, seed=seed)], logits=3 * volume(2, classes, *space, seed=seed + 1)
    )


def masks_of(target: torch.Tensor) -> list[list[torch.Tensor]]:
    if target.shape[1] > 1:
        return [[(sample == 0).all(0), *(sample > 0)] for sample in target]
    return [[sample[0] == k for k in range(int(target.max()) + 1)] for sample in target]


def expected(student: Activations, teacher: Activations, target: torch.Tensor, *, regions: bool = False):
    of_logits = plain_prediction_of_regions if regions else plain_prediction
    total = 0.1 * of_logits(student.logits, teacher.logits, 4)
    for s, t in zip(student.encoder, teacher.encoder, strict=True):
        total = total + 0.9 * plain_importance(s, t) + 0.9 * plain_affinity(s, t, masks_of(target))
    return total


def check_value_and_gradient(student: Activations, teacher: Activations, target, **options) -> None:
    inputs = [student.logits.requires_grad_(), student.encoder[0].requires_grad_()]
    results = []
    for value in (EMKD(**options)(student, teacher, target), expected(student, teacher, target, **options)):
        results.append((value.detach(), *torch.autograd.grad(value, inputs)))
    torch.testing.assert_close(*results, rtol=1e-9, atol=1e-13)


@pytest.mark.parametrize("space", SIZES)
@pytest.mark.parametrize("classes", [2, 4])
def test_loss_and_gradient_equal_the_plain_definition(space, classes):
    student, teacher = activations(3, space), activations(7, space, seed=5)
    check_value_and_gradient(student, teacher, labels(classes, space=space))


def test_class_that_is_missing_in_a_sample_or_everywhere_changes_nothing():
    target = labels(4)
    target[0][target[0] == 2] = 0
    target[target == 3] = 5
    check_value_and_gradient(activations(3), activations(7, seed=5), target)


def test_sample_with_a_single_class_has_no_affinity_and_is_counted():
    student, teacher, target = activations(3), activations(7, seed=5), labels(3)
    target[0] = 0
    check_value_and_gradient(student, teacher, target)
    target[:] = 0
    check_value_and_gradient(student, teacher, target)


def test_regions_and_what_is_outside_of_them_are_compared_in_pairs():
    regions = torch.cat([labels(3) > 0, labels(3) > 1], dim=1).to(torch.int8)
    student, teacher = activations(3, classes=2), activations(7, classes=2, seed=5)
    check_value_and_gradient(student, teacher, regions, regions=True)


@pytest.mark.parametrize("regions", [False, True])
def test_voxels_left_out_by_the_target_are_in_no_class_and_in_no_mean_of_predictions(regions):
    student, teacher, target = activations(3), activations(7, seed=5), labels(4)
    if regions:
        target = torch.cat([target > 0, target > 1], dim=1).to(torch.int8)
    target[:, :, 2:] = -1

    def loss(**weights):
        return EMKD(regions=regions, **{"prediction": 0.0, "importance": 0.0, "affinity": 0.0, **weights})

    plain = plain_prediction_of_regions if regions else plain_prediction
    torch.testing.assert_close(
        loss(prediction=1.0)(student, teacher, target), plain(student.logits[:, :, :2], teacher.logits[:, :, :2], 4)
    )
    s, t = student.encoder[0], teacher.encoder[0]
    torch.testing.assert_close(
        loss(affinity=1.0)(student, teacher, target),
        plain_affinity(s[:, :, :2], t[:, :, :2], masks_of(target[:, :, :2])),
    )
    torch.testing.assert_close(loss(importance=1.0)(student, teacher, target), plain_importance(s, t))
    assert EMKD(importance=0.0, regions=regions)(student, teacher, torch.full_like(target, -1)) == 0


def test_affinity_by_hand():
    """Two classes of one voxel each: the student's features are at a right angle, the teacher's at 60 degrees."""
    target = torch.tensor([0, 1]).view(1, 1, 2, 1, 1)
    s = torch.tensor([[1.0, 0.0], [0.0, 2.0]]).view(1, 2, 2, 1, 1)
    t = torch.tensor([[1.0, 0.5], [0.0, 0.75**0.5]]).view(1, 2, 2, 1, 1)
    assert cosine_similarity(t[0, :, 0, 0, 0], t[0, :, 1, 0, 0], dim=0) == pytest.approx(0.5)
    logits = torch.zeros(1, 2, 2, 1, 1)
    loss = EMKD(importance=0.0)(Activations([s], logits=logits), Activations([t], logits=logits), target)
    assert loss.item() == pytest.approx(0.9 * 0.25)


def test_stages_are_the_second_and_the_fourth_or_the_last_there_is():
    channels = [2, 3, 4, 5, 6]
    target = labels(3, space=(8, 8, 8))
    for stages, options in ([1, 3], {}), ([0, 4], {"low": 0, "high": 7}), ([2, 4], {"low": 2, "high": 4}):
        sizes = [(2, c, *(max(1, 8 >> i) for _ in range(3))) for i, c in enumerate(channels)]
        logits = [volume(2, 3, 8, 8, 8, seed=i) for i in (20, 40)]
        student = Activations([volume(*size, seed=i) for i, size in enumerate(sizes)], logits=logits[0])
        teacher = Activations([volume(*size, seed=10 + i) for i, size in enumerate(sizes)], logits=logits[1])
        total = 0.1 * plain_prediction(*logits, 4)
        for i in stages:
            step = 8 // student.encoder[i].shape[-1]
            masks = masks_of(target[:, :, ::step, ::step, ::step])
            s, t = student.encoder[i], teacher.encoder[i]
            total += 0.9 * plain_importance(s, t) + 0.9 * plain_affinity(s, t, masks)
        torch.testing.assert_close(EMKD(**options)(student, teacher, target), total)


def test_stage_that_is_both_low_and_high_counts_once():
    student, teacher, target = of_network([2]), of_network([4], seed=5), labels(3, space=(8, 8, 8))
    torch.testing.assert_close(EMKD()(student, teacher, target), expected(student, teacher, target))


def test_gradients_are_exact():
    space = (2, 3, 2)
    s, t, target = activations(3, space), activations(4, space, seed=5), labels(3, space=space)

    def loss(features, logits):
        return EMKD()(Activations([features], logits=logits), t, target)

    assert torch.autograd.gradcheck(loss, (s.encoder[0].requires_grad_(), s.logits.requires_grad_()))


def test_equal_activations_cost_nothing_and_length_does_not_matter():
    student, target = activations(3), labels(4)
    assert EMKD()(student, student, target) == 0
    longer = Activations([5 * student.encoder[0]], logits=student.logits)
    assert EMKD()(student, longer, target) < 1e-25


def test_features_of_zero_give_a_finite_gradient():
    s = torch.zeros(1, 3, *SPACE, requires_grad=True)
    logits = torch.zeros(1, 2, *SPACE)
    teacher = Activations([volume(1, 4, *SPACE).float()], logits=logits)
    EMKD()(Activations([s], logits=logits), teacher, labels(2, batch=1)).backward()
    assert s.grad.isfinite().all()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_features_are_compared_in_single(dtype):
    """Seventy thousand voxels of a class are more than half precision can count to, and so are fourth powers."""
    target = torch.zeros(1, 1, 42, 42, 42)
    target[..., 40:] = 1
    pair = []
    for channels in (2, 4):
        features, logits = (100 * volume(1, channels, 42, 42, 42)).to(dtype), volume(1, 2, 42, 42, 42, seed=channels)
        pair.append(Activations([features], logits=logits.to(dtype)))
    pair[0].encoder[0].requires_grad_()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        half = EMKD()(*pair, target)
    (2.0**16 * half).backward()  # as a gradient scaler does
    assert pair[0].encoder[0].grad.isfinite().all()
    assert pair[0].encoder[0].grad.abs().sum() > 0
    whole = (Activations([a.encoder[0].detach().float()], logits=a.logits.float()) for a in pair)
    torch.testing.assert_close(half.detach(), EMKD()(*whole, target))


def test_mistakes_are_told_in_a_sentence():
    student, teacher, target = activations(3), activations(7, seed=5), labels(4)
    with pytest.raises(UserError, match="needs the target"):
        EMKD()(student, teacher)
    with pytest.raises(UserError, match="temperature 0 is not possible"):
        EMKD(temperature=0)
    with pytest.raises(UserError, match="importance is a weight, a number of at least 0, not -1"):
        EMKD(importance=-1)
    with pytest.raises(UserError, match="low has to come first, not 3 and 1"):
        EMKD(low=3, high=1)
    with pytest.raises(StageMismatch, match="the taps name none"):
        EMKD()(Activations([], logits=student.logits), Activations([], logits=teacher.logits), target)
    with pytest.raises(StageMismatch, match="unequal size at stage 0"):
        EMKD()(student, Activations([teacher.encoder[0][..., 1:]], logits=teacher.logits), target)
