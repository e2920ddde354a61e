"""Reliability: how often a label is there where a network gives it a certain probability."""

from __future__ import annotations

from collections.abc import Mapping
from math import ceil

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ...evaluation.calibration import Calibration
from .chart import chart_looks, empty_chart
from .palette import BLUE, GREY

_COLUMNS = 4


def draw_reliability(calibrations: Mapping[str, Calibration]) -> Figure:
    """Draw the frequency of each label against its mean probability in every bin; on the diagonal they agree.

    Bars show which share of the voxels is in a bin, on a logarithmic scale from a millionth to all.

    Args:
        calibrations: By label.
    """
    rows = ceil(len(calibrations) / _COLUMNS)
    with chart_looks():
        figure = empty_chart(2.3 * rows)
        panels = figure.subplots(rows, _COLUMNS, squeeze=False).ravel()
        for axes, (name, calibration) in zip(panels, calibrations.items(), strict=False):
            _draw_panel(axes, name, calibration)
        for axes in panels[len(calibrations) :]:
            axes.set_axis_off()
        for axes in panels[::_COLUMNS]:
            axes.set_ylabel("Share of voxels with the label")
        figure.supxlabel("Mean probability of the bin", fontsize=8)
    return figure


def _draw_panel(axes: Axes, name: str, calibration: Calibration) -> None:
    bins = len(calibration.voxels)
    shares = calibration.voxels / max(1, calibration.voxels.sum())
    heights = np.clip(1 + np.log10(np.maximum(shares, 1e-12)) / 6, 0, 1)
    axes.bar((np.arange(bins) + 0.5) / bins, heights, width=0.9 / bins, color=GREY, alpha=0.25)
    axes.plot([0, 1], [0, 1], color=GREY, linewidth=0.6, linestyle="--")
    filled = calibration.voxels > 0
    axes.plot(calibration.mean_probability[filled], calibration.frequency[filled], color=BLUE, marker="o", markersize=3)
    axes.set(xlim=(0, 1), ylim=(0, 1), xticks=[0, 0.5, 1], yticks=[0, 0.5, 1], aspect="equal")
    axes.set_title(f"{name}\nECE {calibration.expected_error:.3f}, Brier {calibration.brier:.3f}")
