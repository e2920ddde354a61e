"""Logit distillation is the divergence of softened predictions, voxel by voxel."""

from __future__ import annotations

import math

import pytest
import torch

from activations import SPACE, labels, of_logits, volume
from nndistill.errors import StageMismatch, UserError
from nndistill.methods import Activations, Logits


def loss(student, teacher, target=None, **options):
    return Logits(**options)(of_logits(student), of_logits(teacher), target)


def voxels(x: torch.Tensor) -> list[list[float]]:
    return x.movedim(1, -1).reshape(-1, x.shape[1]).tolist()


def softmax(z: list[float]) -> list[float]:
    return [math.exp(a) / sum(math.exp(b) for b in z) for a in z]


def divergence_of_classes(s: list[float], t: list[float]) -> float:
    return sum(p * math.log(p / q) for p, q in zip(softmax(t), softmax(s), strict=True))


def divergence_of_regions(s: list[float], t: list[float]) -> float:
    return sum(divergence_of_classes([a, 0.0], [b, 0.0]) for a, b in zip(s, t, strict=True))


@pytest.mark.parametrize("temperature", [1, 4, 0.5])
@pytest.mark.parametrize(("regions", "divergence"), [(False, divergence_of_classes), (True, divergence_of_regions)])
def test_loss_equals_the_plain_definition(regions, divergence, temperature):
    s, t = volume(2, 3, *SPACE), 3 * volume(2, 3, *SPACE, seed=1)
    each = [
        divergence([a / temperature for a in x], [b / temperature for b in y])
        for x, y in zip(voxels(s), voxels(t), strict=True)
    ]
    expected = temperature**2 * sum(each) / len(each)
    assert loss(s, t, temperature=temperature, regions=regions).item() == pytest.approx(expected, rel=1e-10)


@pytest.mark.parametrize("regions", [False, True])
def test_gradients_are_exact(regions):
    t = volume(2, 3, 2, 3, 2, seed=1)
    s = volume(2, 3, 2, 3, 2).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: loss(x, t, regions=regions), (s,))


@pytest.mark.parametrize("regions", [False, True])
def test_equal_logits_cost_nothing_and_others_something(regions):
    z = 20 * volume(1, 3, *SPACE).float()
    assert loss(z, z, regions=regions) == 0
    assert loss(z, -z, regions=regions) > 1


def test_constant_added_to_all_classes_of_a_voxel_costs_nothing():
    z, constant = volume(1, 3, *SPACE), volume(1, 1, *SPACE, seed=1)
    assert loss(z + constant, z).abs() < 1e-12


def test_hot_distillation_matches_centred_logits():
    """As T grows the loss tends to the mean square of the logits' difference, centred, over twice the classes."""
    s, t = volume(1, 4, *SPACE), volume(1, 4, *SPACE, seed=1)
    difference = (s - t) - (s - t).mean(1, keepdim=True)
    expected = difference.square().sum(1).mean() / (2 * 4)
    torch.testing.assert_close(loss(s, t, temperature=1e4), expected, rtol=1e-3, atol=0)


def test_two_classes_are_one_region():
    s, t = volume(1, 1, *SPACE), volume(1, 1, *SPACE, seed=1)
    padded = [torch.cat([torch.zeros_like(x), x], dim=1) for x in (s, t)]
    torch.testing.assert_close(loss(s, t, regions=True), loss(*padded))


def test_voxels_left_out_by_the_target_do_not_count():
    s, t, target = volume(2, 3, *SPACE), volume(2, 3, *SPACE, seed=1), labels(3)
    target[:, :, 2:] = -1
    torch.testing.assert_close(loss(s, t, target), loss(s[:, :, :2], t[:, :, :2]))
    assert loss(s, t, torch.full_like(target, -1)) == 0


def test_half_precision_is_compared_in_single():
    s, t = (20 * volume(1, 3, *SPACE, seed=i) for i in range(2))
    half = loss(s.bfloat16(), t.bfloat16())
    assert half.dtype == torch.float32
    torch.testing.assert_close(half, loss(s.bfloat16().float(), t.bfloat16().float()))


@pytest.mark.parametrize("temperature", [0, -1, "4", None, float("inf"), float("nan")])
def test_impossible_temperature_is_refused(temperature):
    with pytest.raises(UserError, match=r"temperature .* is not possible.*above 0"):
        Logits(temperature=temperature)


def test_missing_and_unequal_logits_are_refused():
    z = volume(1, 3, *SPACE)
    with pytest.raises(StageMismatch, match="the teacher gave no logits"):
        Logits()(of_logits(z), Activations(encoder=[]))
    with pytest.raises(StageMismatch, match=r"unequal shape: student \(1, 3, 4, 6, 5\), teacher \(1, 2, 4, 6, 5\)"):
        loss(z, z[:, :2])
