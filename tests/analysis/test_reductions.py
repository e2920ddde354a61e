"""Figure 1's numbers: what halving leaves of an image and of its derivative."""

from __future__ import annotations

import numpy as np
import pytest

from nndistill.analysis.reductions import reduced_scales
from nndistill.errors import UnknownName


def test_a_ramp_keeps_its_derivative_a_mm_through_all_reductions():
    ramp = np.broadcast_to(np.arange(64.0)[:, None, None], (64, 64, 64))
    scales = reduced_scales(ramp, (0.5, 1, 1), downsampling="averaging", derivative="magnitude")
    assert [scale.image.shape for scale in scales] == [(64 // 2**step,) * 3 for step in range(6)]
    for scale in scales:
        np.testing.assert_allclose(scale.derivative, 2)
        assert scale.derivative_left == pytest.approx(1)


def test_averaging_takes_the_mean_of_blocks():
    image = np.random.default_rng(0).normal(size=(8, 8, 8))
    blocks = image.reshape(4, 2, 4, 2, 4, 2).mean(axis=(1, 3, 5))
    np.testing.assert_allclose(reduced_scales(image, (1, 1, 1), downsampling="averaging")[1].image, blocks)


def test_white_noise_loses_seven_eighths_of_its_variance_and_31_32nds_of_its_derivative_to_averaging():
    noise = np.random.default_rng(0).normal(size=(64, 64, 64))
    first = reduced_scales(noise, (1, 1, 1), downsampling="averaging", derivative="magnitude")[1]
    assert first.variance_left == pytest.approx(1 / 8, rel=0.05)
    assert first.derivative_left == pytest.approx(1 / 32, rel=0.1)


def test_figure_1_shows_every_second_voxel_and_the_derivative_along_x():
    image = np.random.default_rng(0).normal(size=(9, 8, 12))
    for step, scale in enumerate(reduced_scales(image, (3, 2, 0.5), reductions=2)):
        every = image[:: 2**step, :: 2**step, :: 2**step]
        np.testing.assert_array_equal(scale.image, every)
        inner = (every[..., 2:] - every[..., :-2]) / (2 * 0.5 * 2**step)
        np.testing.assert_allclose(scale.derivative[..., 1:-1], inner)
        np.testing.assert_allclose(scale.derivative[..., 0], (every[..., 1] - every[..., 0]) / (0.5 * 2**step))


def test_the_magnitude_is_that_of_all_three_derivatives():
    image = np.random.default_rng(0).normal(size=(6, 8, 7))
    d, h, w = np.gradient(image, 3, 2, 0.5)
    (scale,) = reduced_scales(image, (3, 2, 0.5), reductions=0, derivative="magnitude")
    np.testing.assert_allclose(scale.derivative, np.sqrt(d**2 + h**2 + w**2))


def test_decimation_keeps_the_variance_of_white_noise_and_averaging_does_not():
    noise = np.random.default_rng(0).normal(size=(64, 64, 64))
    first = reduced_scales(noise, (1, 1, 1))[1]
    assert first.variance_left == pytest.approx(1, rel=0.05)
    # a quarter, as neighbours are twice as far apart; a one-sided difference at the two ends has 4 times the variance
    ends = ((30 + 2 * 4) / 32) / ((62 + 2 * 4) / 64)
    assert first.derivative_left == pytest.approx(ends / 4, rel=0.02)


def test_decimation_turns_a_fine_wave_into_a_coarse_one_and_averaging_removes_it():
    n = np.arange(64)
    wave = np.broadcast_to(np.cos(0.9 * np.pi * n), (8, 8, 64))
    decimated, averaged = (reduced_scales(wave, (1, 1, 1), downsampling=by)[1] for by in ("decimation", "averaging"))
    np.testing.assert_allclose(decimated.image[0, 0], np.cos(0.2 * np.pi * n[:32]), atol=1e-12)
    assert averaged.variance_left < 0.03


@pytest.mark.parametrize("wrong", [{"downsampling": "decimate"}, {"derivative": "y"}])
def test_a_wrong_name_is_answered_with_the_known_ones(wrong):
    with pytest.raises(UnknownName, match="Known: "):
        reduced_scales(np.ones((4, 4, 4)), (1, 1, 1), **wrong)


@pytest.mark.parametrize("downsampling", ["decimation", "averaging"])
def test_reductions_end_before_one_voxel_is_left(downsampling):
    scales = reduced_scales(np.random.default_rng(0).normal(size=(5, 9, 6)), (1, 1, 1), downsampling=downsampling)
    assert [scale.image.shape for scale in scales] == [(5, 9, 6), (3, 5, 3), (2, 3, 2)]


def test_a_constant_has_no_shares():
    assert all(np.isnan(scale.derivative_left) for scale in reduced_scales(np.ones((8, 8, 8)), (1, 1, 1)))
