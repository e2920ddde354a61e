"""When an engine counts as equal to PyTorch."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from nndistill.methods import Activations
from nndistill.taps import Taps
from nndistill.teacher_engines import TorchEngine
from nndistill.teacher_engines.agreement import FLOAT32_BOUND, Reference, relative_differences


@given(st.floats(-0.5, 0.5), st.floats(1e-3, 1e3))
def test_difference_is_relative_to_the_reference(share, scale):
    reference = torch.randn(1, 3, 4, 5, 2) * scale
    (difference,) = relative_differences(Activations([reference]), Activations([reference * (1 + share)]))
    assert math.isclose(difference, abs(share), rel_tol=1e-3, abs_tol=1e-6)


def test_other_shapes_or_numbers_cannot_be_compared():
    one = Activations([torch.ones(1, 1, 2, 2, 2)])
    for other in (Activations([torch.ones(1, 1, 2, 2, 1)]), Activations([*one.encoder, *one.encoder])):
        with pytest.raises(ValueError, match="shapes"):
            relative_differences(one, other)


def test_zeros_equal_zeros_and_nothing_else():
    zeros = Activations([torch.zeros(1, 1, 2, 2, 2)])
    assert relative_differences(zeros, zeros) == [0]
    assert relative_differences(zeros, Activations([torch.ones(1, 1, 2, 2, 2)]))[0] > 1


@pytest.fixture
def teacher() -> TorchEngine:
    layers = [nn.Conv3d(1, 16, 3, padding=1), nn.LeakyReLU(), nn.Conv3d(16, 16, 3, padding=1)]
    return TorchEngine(nn.Sequential(*layers).eval(), Taps(encoder=("0", "2")))


def test_float32_allows_a_thousandth_and_never_what_is_no_number(teacher):
    reference = Reference.of(teacher, torch.randn(1, 1, 8, 8, 8))
    assert reference.bounds == [FLOAT32_BOUND] * 2
    assert reference.allows([0.0, FLOAT32_BOUND])
    assert not reference.allows([0.0, 2 * FLOAT32_BOUND])
    assert not reference.allows([math.nan, 0.0])
    assert not reference.allows([math.inf, 0.0])


@torch.no_grad()
def test_bfloat16_passes_in_bfloat16_and_not_in_float32(teacher):
    x = torch.randn(1, 1, 8, 8, 8)
    exact = Reference.of(teacher, x)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        reduced = Reference.of(teacher, x)
        in_bfloat16 = teacher(x)
    assert all(a.dtype == torch.float32 for a in reduced.activations.encoder)
    differences = relative_differences(exact.activations, in_bfloat16)
    assert reduced.allows(differences)
    assert not reduced.allows([2 * difference for difference in differences])
    assert not exact.allows(differences)
