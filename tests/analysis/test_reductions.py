"""Figure 1's numbers: what halving leaves of an image and of its derivative."""

from __future__ import annotations

import numpy as np
import pytest

from nndistill.analysis.reductions import reduced_scales


def test_a_ramp_keeps_its_derivative_a_mm_through_all_reductions():
    ramp = np.broadcast_to(np.arange(64.0)[:, None, None], (64, 64, 64))
    scales = reduced_scales(ramp, (0.5, 1, 1))
    assert [scale.image.shape for scale in scales] == [(64 // 2**step,) * 3 for step in range(6)]
    for scale in scales:
        np.testing.assert_allclose(scale.derivative, 2)
        assert scale.derivative_left == pytest.approx(1)


def test_each_scale_is_the_mean_of_blocks():
    image = np.random.default_rng(0).normal(size=(8, 8, 8))
    blocks = image.reshape(4, 2, 4, 2, 4, 2).mean(axis=(1, 3, 5))
    np.testing.assert_allclose(reduced_scales(image, (1, 1, 1))[1].image, blocks)


def test_white_noise_loses_seven_eighths_of_its_variance_and_31_32nds_of_its_derivative():
    noise = np.random.default_rng(0).normal(size=(64, 64, 64))
    first = reduced_scales(noise, (1, 1, 1))[1]
    assert first.variance_left == pytest.approx(1 / 8, rel=0.05)
    assert first.derivative_left == pytest.approx(1 / 32, rel=0.1)


def test_reductions_end_before_one_voxel_is_left():
    scales = reduced_scales(np.random.default_rng(0).normal(size=(5, 9, 6)), (1, 1, 1))
    assert [scale.image.shape for scale in scales] == [(5, 9, 6), (3, 5, 3), (2, 3, 2)]


def test_a_constant_has_no_shares():
    assert all(np.isnan(scale.derivative_left) for scale in reduced_scales(np.ones((8, 8, 8)), (1, 1, 1)))
