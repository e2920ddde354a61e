"""CIRKD compares how alike any two positions of the batch are."""

from __future__ import annotations

import math

import pytest
import torch

from activations import SPACE, labels, of_network, volume
from nndistill.errors import StageMismatch, UnknownName, UserError
from nndistill.methods import CIRKD, Activations
from nndistill.methods.cirkd import block_size
from plain_cirkd import plain_blocks, plain_loss


def loss(student, teacher, target=None, **options):
    return CIRKD(**options)(Activations([], [student]), Activations([], [teacher]), target)


def expected(student, teacher, *, size=1, temperature=0.1, mask=None):
    return plain_loss(plain_blocks(student, size, mask), plain_blocks(teacher, size, mask), temperature)


def check_value_and_gradient(student, teacher, target, mask, size, **options) -> None:
    results = []
    for plain in (False, True):
        s = student.clone().requires_grad_()
        if plain:
            value = expected(s, teacher, size=size, mask=mask, temperature=options.get("temperature", 0.1))
        else:
            value = loss(s, teacher, target, **options)
        results.append((value.detach(), *torch.autograd.grad(value, s)))
    torch.testing.assert_close(*results, rtol=1e-9, atol=1e-13)


@pytest.mark.parametrize(
    ("space", "positions", "size"),
    [(SPACE, 120, 1), (SPACE, 119, 2), ((7, 5, 3), 24, 2), ((7, 5, 3), 4, 4), ((1, 2, 9), 1, 16), ((8, 8, 8), 64, 2)],
)
@pytest.mark.parametrize("batch", [1, 3])
def test_loss_and_gradient_equal_the_plain_definition(space, positions, size, batch):
    s, t = volume(batch, 3, *space), volume(batch, 7, *space, seed=1)
    check_value_and_gradient(s, t, None, None, size, positions=positions)
    target = labels(3, batch=batch, space=space)
    check_value_and_gradient(s, t, target, None, size, positions=positions, temperature=2.0)


@pytest.mark.parametrize("regions", [False, True])
@pytest.mark.parametrize(("positions", "size"), [(120, 1), (20, 2)])
def test_voxels_left_out_by_the_target_are_in_no_position(regions, positions, size):
    s, t, target = volume(2, 3, *SPACE), volume(2, 7, *SPACE, seed=1), labels(2)
    target[0, :, :, 3:], target[1, :, 1:] = -1, -1
    target[:, :, 0, 0, 0] = -1  # a block is left with seven voxels
    if regions:
        target = target.expand(-1, 2, -1, -1, -1)
    check_value_and_gradient(s, t, target, target[:, 0] >= 0, size, positions=positions)


def test_image_that_is_left_out_as_a_whole_has_no_pair():
    s, t, target = volume(2, 3, *SPACE), volume(2, 7, *SPACE, seed=1), labels(2)
    target[0] = -1
    check_value_and_gradient(s, t, target, target[:, 0] >= 0, 1)
    target[1] = -1
    s.requires_grad_()
    value = loss(s, t, target)
    value.backward()
    assert value == 0
    assert s.grad.abs().sum() == 0


def test_mask_is_brought_to_a_stage_by_nearest_neighbour():
    s, t, target = volume(2, 3, *SPACE), volume(2, 7, *SPACE, seed=1), labels(2)
    target[0, :, :, 3:] = -1
    finer = labels(2, space=[2 * size for size in SPACE])
    finer[:, :, ::2, ::2, ::2] = target
    torch.testing.assert_close(loss(s, t, finer), loss(s, t, target))


@pytest.mark.parametrize(
    ("space", "positions", "size"), [((128, 160, 112), 1024, 16), ((128, 160, 112), 4480, 8), ((8, 10, 7), 1024, 1)]
)
def test_blocks_of_the_brats_networks(space, positions, size):
    assert block_size(torch.Size(space), positions) == size
    assert math.prod(-(-axis // size) for axis in space) <= positions


def test_stages_of_the_encoder_are_averaged():
    method = CIRKD(match="encoder", positions=100)
    student, teacher = of_network([2, 4]), of_network([4, 8], seed=5)
    plain = sum(expected(s, t, size=size) for s, t, size in zip(student.encoder, teacher.encoder, (2, 1), strict=True))
    torch.testing.assert_close(method(student, teacher), plain / 2)
    assert method.needs == {"encoder"}


def test_gradients_are_exact():
    s, t = volume(2, 3, 2, 3, 2), volume(2, 4, 2, 3, 2, seed=1)
    assert torch.autograd.gradcheck(lambda x: loss(x, t), (s.requires_grad_(),))


def test_equal_features_cost_nothing_and_neither_length_nor_rotation_matters():
    s = volume(2, 3, *SPACE)
    assert loss(s, s).abs() < 1e-12
    rotation, _ = torch.linalg.qr(volume(3, 3, seed=2))
    assert loss(s, 5 * torch.einsum("ij,bjdhw->bidhw", rotation, s)).abs() < 1e-12


def test_single_position_costs_nothing():
    assert loss(volume(2, 3, *SPACE), volume(2, 7, *SPACE, seed=1), positions=1) == 0


def test_features_of_zero_give_a_finite_gradient():
    s = torch.zeros(2, 3, *SPACE, requires_grad=True)
    loss(s, volume(2, 4, *SPACE).float()).backward()
    assert s.grad.isfinite().all()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_features_are_compared_in_single(dtype):
    """The sum over a block of 16³ voxels is more than half precision holds."""
    coarse = [200 * volume(2, c, 3, 3, 3) for c in (2, 4)]
    s, t = (x.repeat_interleave(14, 2).repeat_interleave(14, 3).repeat_interleave(14, 4).to(dtype) for x in coarse)
    s.requires_grad_()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        half = loss(s, t, positions=64)
    (2.0**16 * half).backward()  # as a gradient scaler does
    assert half.dtype == torch.float32
    assert s.grad.isfinite().all()
    assert s.grad.abs().sum() > 0
    torch.testing.assert_close(half, loss(s.detach().float(), t.float(), positions=64))


def test_mistakes_are_told_in_a_sentence():
    s = volume(2, 3, *SPACE)
    with pytest.raises(UnknownName, match="Did you mean 'encoder'"):
        CIRKD(match="encodr")
    with pytest.raises(UserError, match="temperature 0 is not possible"):
        CIRKD(temperature=0)
    with pytest.raises(UserError, match="positions must be at least 1, not 0"):
        CIRKD(positions=0)
    with pytest.raises(StageMismatch, match="cirkd reads decoder stages, and the taps name none"):
        CIRKD()(Activations([s]), Activations([s]))
    with pytest.raises(StageMismatch, match="unequal size at stage 0"):
        loss(s, s[..., 1:])
    with pytest.raises(StageMismatch, match="1 stages and the teacher 2"):
        CIRKD(match="encoder")(Activations([s]), Activations([s, s]))
