"""The paper's Figure 2b on one's own models: a stage's feature, its bands, and what the projection leaves of it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

from ...analysis.bands import BandParts, StageBands
from .chart import WIDTH, chart_looks, empty_chart
from .drawing import Drawing

LABELS = 0.35  # inches: names of the rows
ROW = 0.08  # inches: between two rows
DETAIL = ("directional", "diagonal", "projected")
"""Columns whose values vary around 0."""


def draw_bands(bands: StageBands, *, stage: int, case: str, spacing: Sequence[float], phi: str | None) -> Drawing:
    """Draw one slice of a teacher's feature and its bands; with a student, the same of it, and the differences.

    Args:
        bands: From `nndistill.analysis.bands.stage_bands`.
        stage: Number of the stage, from 1.
        case: Name of the case.
        spacing: Size of the stage's voxels in mm, slices first if there are any.
        phi: What the φ is called through which the student is seen.
    """
    rows = {"teacher": bands.teacher}
    if bands.student is not None:
        rows["student, φ"] = bands.student
        rows["difference"] = BandParts(*(t - s for t, s in zip(bands.teacher, bands.student, strict=True)))
    levels = "level 1" if bands.levels == 1 else f"levels 1–{bands.levels}"
    low, high = "L" * bands.ndim, "H" * bands.ndim
    titles = ("feature", f"{low}, level 1", "D, level 1", f"{high}, level 1", f"P$_D$, {levels}")
    depth, height, width = bands.teacher.feature.shape
    proportion = height * spacing[-2] / (width * spacing[-1])
    panel = (WIDTH - LABELS) / len(titles)
    with chart_looks():
        figure = empty_chart(len(rows) * (panel * proportion + ROW) + 0.5)
        panels = figure.subplots(len(rows), len(titles), squeeze=False)
        for axes, title in zip(panels[0], titles, strict=True):
            axes.set_title(title)
        for line, (name, parts) in zip(panels, rows.items(), strict=True):
            line[0].set_ylabel(name)
            for axes, part, values, own in zip(line, BandParts._fields, parts, bands.teacher, strict=True):
                darkest, brightest = _window(own, around_zero=part in DETAIL)
                if name == "difference":
                    darkest, brightest = (darkest - brightest) / 2, (brightest - darkest) / 2
                    axes.set_xlabel(f"{_relative(values, own):.2g}")
                _show(axes, values[bands.slice_index], (darkest, brightest), spacing)
        figure.suptitle(f"{case}, stage {stage}, channel {bands.channel}", fontsize=9)
    channel = f"channel {bands.channel}"
    shown = f"Slice {bands.slice_index + 1} of {depth} of {channel}" if bands.ndim == 3 else channel.capitalize()
    student = f" The student is seen through φ ({phi})." if bands.student is not None else ""
    numbers = (
        " Under the differences: their squared norm relative to the teacher's, in the whole channel."
        if bands.student is not None
        else ""
    )
    return Drawing(
        name="bands",
        title=f"Stage {stage} of {case} in its bands",
        caption=f"{shown}, the one in which the projection leaves most.{student} {low}, D and {high} of level 1 are "
        f"each transformed back alone and add up to the feature; P_D keeps D of {levels}, which is what DCD compares. "
        f"The pictures of a column share the teacher's window (a difference its width); in D, {high} and P_D, middle "
        f"grey is 0.{numbers}",
        figure=figure,
        dpi=300,
    )


def _window(values: NDArray[np.float32], *, around_zero: bool) -> tuple[float, float]:
    if around_zero:
        largest = float(np.percentile(np.abs(values), 99.5))
        return -largest, largest
    low, high = np.percentile(values, [0.5, 99.5])
    return float(low), float(high)


def _relative(difference: NDArray[np.float32], whole: NDArray[np.float32]) -> float:
    energy = float(np.square(whole, dtype=np.float64).sum())
    return float(np.square(difference, dtype=np.float64).sum()) / energy if energy else float("nan")


def _show(axes: Axes, picture: NDArray[np.float32], window: tuple[float, float], spacing: Sequence[float]) -> None:
    axes.imshow(
        picture, cmap="gray", vmin=window[0], vmax=window[1], interpolation="nearest", aspect=spacing[-2] / spacing[-1]
    )
    axes.set(xticks=[], yticks=[])
    axes.spines[:].set_visible(False)
