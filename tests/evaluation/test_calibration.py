"""Calibration equals scikit-learn's bins and Brier score, and that of several cases is that of all their voxels."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.calibration import calibration_curve
from sklearn.metrics import brier_score_loss

from nndistill.evaluation.calibration import BINS, Calibration

VOXELS = st.lists(
    st.tuples(st.one_of(st.floats(0, 1, width=32), st.sampled_from([0.0, 1.0, 1 / 15, 0.2, 0.4])), st.booleans()),
    min_size=1,
    max_size=60,
)


def arrays(voxels) -> tuple[np.ndarray, np.ndarray]:
    return np.array([p for p, _ in voxels], np.float32), np.array([y for _, y in voxels], np.bool_)


@settings(max_examples=60)
@given(voxels=VOXELS, bins=st.sampled_from([1, 5, BINS]))
def test_bins_and_brier_score_are_scikit_learns(voxels, bins):
    probability, present = arrays(voxels)
    calibration = Calibration.of(probability, present, bins=bins)
    filled = calibration.voxels > 0
    frequency, mean = calibration_curve(present, probability, n_bins=bins)
    np.testing.assert_allclose(calibration.frequency[filled], frequency)
    np.testing.assert_allclose(calibration.mean_probability[filled], mean, rtol=1e-6)
    expected = brier_score_loss(present, probability, pos_label=True)
    assert calibration.brier == pytest.approx(expected, abs=1e-7)


@given(voxels=VOXELS)
def test_expected_error_is_the_formula_written_out(voxels):
    probability, present = arrays(voxels)
    error = 0.0
    for number in range(BINS):
        low, high = number / BINS, (number + 1) / BINS
        inside = (probability > low) & (probability <= high) | ((number == 0) & (probability == 0))
        if inside.any():
            error += inside.mean() * abs(present[inside].mean() - probability[inside].mean(dtype=np.float64))
    edges = np.arange(1, BINS) / BINS
    if np.abs(probability[:, None] - edges).min() > 1e-6:  # at an edge the formula is a matter of rounding
        assert Calibration.of(probability, present).expected_error == pytest.approx(error, abs=1e-9)


@given(parts=st.lists(VOXELS, min_size=1, max_size=4))
def test_total_of_parts_is_that_of_all_voxels(parts):
    total = Calibration.total(Calibration.of(*arrays(part)) for part in parts)
    together = Calibration.of(*arrays([voxel for part in parts for voxel in part]))
    np.testing.assert_array_equal(total.voxels, together.voxels)
    assert total.expected_error == pytest.approx(together.expected_error, abs=1e-12)
    assert total.brier == pytest.approx(together.brier, abs=1e-12)


def test_certainty_that_is_right_costs_nothing_and_that_is_wrong_everything():
    present = np.array([True, False])
    for probability, cost in ((present, 0), (~present, 1)):
        calibration = Calibration.of(probability.astype(np.float32), present)
        assert (calibration.expected_error, calibration.brier) == (cost, cost)


def test_without_voxels_nothing_is_known():
    empty = Calibration.of(np.zeros(0, np.float32), np.zeros(0, np.bool_))
    assert np.isnan([empty.expected_error, empty.brier]).all()
    assert np.isnan(empty.frequency).all()
