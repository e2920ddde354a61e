"""IFVD compares how similar each voxel is to the prototype of its class."""

from __future__ import annotations

import pytest
import torch
from torch.nn.functional import cosine_similarity

from activations import SPACE, labels, volume
from nndistill.errors import StageMismatch, UserError
from nndistill.methods import IFVD, Activations


def loss(student, teacher, target):
    return IFVD()(Activations([], [student]), Activations([], [teacher]), target)


def plain_loss(student: torch.Tensor, teacher: torch.Tensor, sets: list[list[list[tuple[int, ...]]]]) -> float:
    """`sets[sample][class]` lists the voxels of a class."""
    squares = []
    for sample, classes in enumerate(sets):
        for voxels in classes:
            if not voxels:
                continue
            similarities = []
            for features in (student[sample], teacher[sample]):
                members = [features[(slice(None), *voxel)] for voxel in voxels]
                prototype = sum(members) / len(members)
                similarities.append([cosine_similarity(member, prototype, dim=0).item() for member in members])
            squares += [(a - b) ** 2 for a, b in zip(*similarities, strict=True)]
    return sum(squares) / len(squares)


def sets_of(target: torch.Tensor, classes: int) -> list[list[list[tuple[int, ...]]]]:
    return [[[tuple(v) for v in (sample[0] == k).nonzero().tolist()] for k in range(classes)] for sample in target]


def test_loss_equals_the_plain_definition():
    s, t, target = volume(2, 3, *SPACE), volume(2, 7, *SPACE, seed=1), labels(4)
    assert loss(s, t, target).item() == pytest.approx(plain_loss(s, t, sets_of(target, 4)), rel=1e-10)


def test_class_that_is_missing_in_a_sample_changes_nothing():
    s, t, target = volume(2, 3, *SPACE), volume(2, 7, *SPACE, seed=1), labels(4)
    target[0][target[0] == 2] = 0
    target[target == 3] = 5
    assert loss(s, t, target).item() == pytest.approx(plain_loss(s, t, sets_of(target, 6)), rel=1e-10)


def test_overlapping_regions_have_a_prototype_each_and_what_is_outside_one_more():
    s, t = volume(2, 3, *SPACE), volume(2, 7, *SPACE, seed=1)
    tumour, core = labels(3)[:, :1] > 0, labels(3)[:, :1] > 1
    sets = [
        [[tuple(v) for v in mask[i, 0].nonzero().tolist()] for mask in (~tumour, tumour, core)] for i in range(len(s))
    ]
    assert loss(s, t, torch.cat([tumour, core], dim=1)).item() == pytest.approx(plain_loss(s, t, sets), rel=1e-10)


def test_target_is_reduced_by_nearest_neighbour():
    s, t, target = volume(2, 3, *SPACE), volume(2, 7, *SPACE, seed=1), labels(3)
    finer = labels(3, space=[2 * size for size in SPACE])
    finer[:, :, ::2, ::2, ::2] = target
    torch.testing.assert_close(loss(s, t, finer), loss(s, t, target))


@pytest.mark.parametrize("regions", [False, True])
def test_voxels_left_out_by_the_target_do_not_count(regions):
    s, t, target = volume(2, 3, *SPACE), volume(2, 7, *SPACE, seed=1), labels(3)
    if regions:
        target = torch.cat([target > 0, target > 1], dim=1).to(torch.int8)
    expected = loss(s[:, :, :2], t[:, :, :2], target[:, :, :2])
    target[:, :, 2:] = -1
    torch.testing.assert_close(loss(s, t, target), expected)
    assert loss(s, t, torch.full_like(target, -1)) == 0


def test_gradients_are_exact():
    s, t, target = volume(2, 3, 2, 3, 2), volume(2, 4, 2, 3, 2, seed=1), labels(3, space=(2, 3, 2))
    assert torch.autograd.gradcheck(lambda x: loss(x, t, target), (s.requires_grad_(),))


def test_equal_features_cost_nothing_and_length_does_not_matter():
    s, target = volume(2, 3, *SPACE), labels(3)
    assert loss(s, s, target) == 0
    assert loss(s, 5 * s, target) < 1e-25


def test_features_of_zero_give_a_finite_gradient():
    s = torch.zeros(1, 3, *SPACE, requires_grad=True)
    loss(s, volume(1, 4, *SPACE).float(), labels(2, batch=1)).backward()
    assert s.grad.isfinite().all()


def test_half_precision_counts_many_voxels():
    """Seventy thousand voxels of a class are more than half precision can count to."""
    s, t = (volume(1, c, 42, 42, 42).half() for c in (2, 4))
    target = torch.zeros(1, 1, 42, 42, 42)
    torch.testing.assert_close(loss(s, t, target), loss(s.float(), t.float(), target))


def test_mistakes_are_told_in_a_sentence():
    s = volume(1, 3, *SPACE)
    with pytest.raises(UserError, match="needs the target"):
        loss(s, s, None)
    with pytest.raises(StageMismatch, match="no decoder stage"):
        IFVD()(Activations([s]), Activations([s]), labels(2))
    with pytest.raises(StageMismatch, match="unequal size at stage 0"):
        loss(s, s[..., 1:], labels(2, batch=1))
