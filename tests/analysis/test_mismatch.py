"""The mismatch of Eq. 1 and the least-squares φ, against numpy and PyWavelets."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import nn

from nndistill.analysis.mismatch import LeastSquaresPhi, mismatch, mismatch_norms
from nndistill.errors import StageMismatch
from plain_wavelets import project


def test_a_student_equal_to_its_teacher_has_no_mismatch_and_zeros_have_one():
    features = torch.randn(2, 3, 16, 16, 16)
    assert mismatch(features, features, nn.Identity()) == (0.0, 0.0)
    assert mismatch(features, torch.zeros_like(features), nn.Identity()) == pytest.approx((1.0, 1.0))


@pytest.mark.parametrize(("mode", "shape", "level"), [("symmetric", (9, 12, 7), 2), ("periodization", (16, 8, 16), 3)])
def test_mismatch_is_that_of_pywavelets(mode, shape, level):
    teacher, student = torch.randn(1, 4, *shape, dtype=torch.float64), torch.randn(1, 2, *shape, dtype=torch.float64)
    phi = nn.Conv3d(2, 4, 1, dtype=torch.float64).requires_grad_(False)
    mapped = np.einsum("ts,bsdhw->btdhw", phi.weight[..., 0, 0, 0].numpy(), student.numpy())
    mapped += phi.bias.numpy()[:, None, None, None]
    for value, bands in zip(mismatch(teacher, student, phi, level=level, mode=mode), ("D+S", "A"), strict=True):
        own = project(teacher.numpy(), bands, "db4", mode, level)
        error = own - project(mapped, bands, "db4", mode, level)
        assert value == pytest.approx(np.square(error).sum() / np.square(own).sum(), rel=1e-9)


@pytest.mark.parametrize(("mode", "shape", "level"), [("symmetric", (9, 12, 7), 2), ("periodization", (16, 8, 16), 3)])
def test_both_sides_of_equation_1_are_those_of_pywavelets(mode, shape, level):
    teacher, student = (torch.randn(2, 3, *shape, dtype=torch.float64) for _ in range(2))
    norms = mismatch_norms(teacher, student, nn.Identity(), level=level, mode=mode)
    high, low, high_of_teacher, low_of_teacher = (
        np.linalg.norm(project(features.numpy(), bands, "db4", mode, level))
        for features in (teacher - student, teacher)
        for bands in ("D+S", "A")
    )
    assert norms == pytest.approx((high, low, high_of_teacher, low_of_teacher), rel=1e-9)
    assert norms.relative == pytest.approx(((high / high_of_teacher) ** 2, (low / low_of_teacher) ** 2), rel=1e-9)


def test_the_norm_may_be_larger_in_the_low_band_where_the_relative_mismatch_is_larger_in_the_high_ones():
    wave = 0.1 * (-1.0) ** torch.arange(16, dtype=torch.float64).expand(1, 1, 16, 16, -1)  # changes from voxel to voxel
    norms = mismatch_norms(5 + wave, torch.full_like(wave, 4.5), nn.Identity(), wavelet="haar", level=1)
    assert norms.high == pytest.approx(0.1 * 64)  # √(16³) voxels
    assert norms.low == pytest.approx(0.5 * 64)
    assert norms.relative == pytest.approx((1, 0.01))


def test_a_teacher_without_detail_has_no_relative_mismatch_in_the_high_bands():
    norms = mismatch_norms(torch.zeros(1, 1, 8, 8, 8), torch.randn(1, 1, 8, 8, 8), nn.Identity(), level=1)
    assert norms.high > 0
    assert math.isnan(norms.relative.high)


def test_a_blurred_student_differs_in_the_high_bands():
    teacher = torch.randn(1, 2, 16, 16, 16)
    teacher += 5
    high, low = mismatch(teacher, nn.functional.avg_pool3d(teacher, 5, 1, 2, count_include_pad=False), nn.Identity())
    assert high > 0.8
    assert low < 0.01


def test_a_stage_that_cannot_be_split_has_no_high_bands():
    high, low = mismatch(torch.ones(1, 1, 5, 5, 5), torch.zeros(1, 1, 5, 5, 5), nn.Identity(), mode="periodization")
    assert math.isnan(high)
    assert low == 1


@pytest.mark.parametrize("dependent", [False, True])
def test_least_squares_phi_is_numpys(dependent):
    cases = [(torch.randn(1, 3, 4, 5, 6) + 2, torch.randn(1, 5, 4, 5, 6)) for _ in range(2)]
    if dependent:
        cases = [(torch.cat([student, student[:, :1] * 2], dim=1), teacher) for student, teacher in cases]
    fit = LeastSquaresPhi(cases[0][0].shape[1], 5)
    for student, teacher in cases:
        fit.add(student, teacher)
    inputs, outputs = (
        np.concatenate([case[i][0].flatten(1).double().numpy() for case in cases], axis=1).T for i in (0, 1)
    )
    inputs = np.hstack([inputs, np.ones((len(inputs), 1))])
    expected, *_ = np.linalg.lstsq(inputs, outputs, rcond=None)
    phi = fit.solve()
    fitted = phi(cases[0][0].double())[0].flatten(1).T.numpy()
    np.testing.assert_allclose(fitted, inputs[: len(fitted)] @ expected, atol=1e-8)
    if not dependent:
        np.testing.assert_allclose(phi.weight[..., 0, 0, 0].numpy(), expected[:-1].T, atol=1e-8)
        np.testing.assert_allclose(phi.bias.numpy(), expected[-1], atol=1e-8)


def test_channels_of_very_unequal_size_cost_no_digits():
    student = torch.randn(1, 3, 8, 8, 8, dtype=torch.float64) * torch.tensor([1e-6, 1, 1e6]).view(1, 3, 1, 1, 1)
    weight = torch.randn(4, 3, dtype=torch.float64) / torch.tensor([1e-6, 1, 1e6])
    teacher = torch.einsum("ts,bsdhw->btdhw", weight, student) + 1
    fit = LeastSquaresPhi(3, 4)
    fit.add(student, teacher)
    torch.testing.assert_close(fit.solve()(student), teacher, rtol=1e-6, atol=1e-6)


def test_features_of_unequal_size_are_refused():
    with pytest.raises(StageMismatch, match="same strides"):
        mismatch(torch.ones(1, 1, 8, 8, 8), torch.ones(1, 1, 4, 4, 4), nn.Identity())
    with pytest.raises(StageMismatch, match="same strides"):
        LeastSquaresPhi(1, 1).add(torch.ones(1, 1, 8, 8, 8), torch.ones(1, 1, 4, 4, 4))
