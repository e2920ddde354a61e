"""The reliability figure shows every filled bin of every label, and how far it is from the diagonal."""

from __future__ import annotations

import numpy as np

from nndistill.evaluation.calibration import Calibration
from nndistill.reporting.figures.reliability import draw_reliability


def test_every_filled_bin_of_every_label_is_a_point():
    draw = np.random.default_rng(0)
    calibrations = {
        f"label {number}": Calibration.of(0.5 * draw.random(500), draw.random(500) < 0.3) for number in range(6)
    }
    panels = [axes for axes in draw_reliability(calibrations).axes if axes.get_title()]
    assert len(panels) == 6
    for axes, (name, calibration) in zip(panels, calibrations.items(), strict=True):
        assert axes.get_title() == f"{name}\nECE {calibration.expected_error:.3f}, Brier {calibration.brier:.3f}"
        points = axes.lines[-1].get_xydata()
        filled = calibration.voxels > 0
        assert 0 < len(points) == filled.sum() < len(filled)
        np.testing.assert_allclose(points[:, 0], calibration.mean_probability[filled])
        np.testing.assert_allclose(points[:, 1], calibration.frequency[filled])
