"""The paper's Figure 1 on one's own data: an image and its derivative, halved again and again."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray

from ...analysis.reductions import Derivative, Scale
from ...files import atomic_path
from .palette import BLUE, ORANGE

FONT = 8.0
PANEL = 1.2  # inches: width of a scale
ROWS: dict[Derivative, str] = {"x": "derivative along x", "magnitude": "gradient"}


def draw_reductions(
    scales: Sequence[Scale],
    path: Path,
    *,
    slice_index: int,
    spacing: Sequence[float],
    derivative: Derivative,
    title: str,
) -> None:
    """Draw one slice at every scale: intensities, derivative, and how much of each is left in the whole volume.

    If the scales are of an image, it is the slice. All intensities have the window of the original, and so do all
    derivatives (per mm): what fades is lost. x is horizontal; a derivative along x is grey where it is 0.

    Args:
        scales: From `nndistill.analysis.reductions.reduced_scales`.
        path: File to write; its ending, such as `.png` or `.svg`, is the format.
        slice_index: Slice of an original volume along the first axis.
        spacing: Voxel size of the original in mm.
        derivative: Which derivative the scales hold.
        title: Line above the figure.
    """
    columns = len(scales)
    height, width = scales[0].image.shape[-2:]
    extent = (0.0, width * spacing[-1], height * spacing[-2], 0.0)
    tall = PANEL * extent[2] / extent[1]
    with mpl.rc_context({"font.size": FONT, "svg.fonttype": "none"}):
        figure = Figure(figsize=(PANEL * columns + 0.7, 2 * tall + 1.9), layout="constrained")
        FigureCanvasAgg(figure)
        rows = figure.subplots(3, columns, squeeze=False, height_ratios=[tall, tall, 0.8])
        low, high = np.percentile(scales[0].image, [0.5, 99.5])
        steepest = float(np.percentile(np.abs(scales[0].derivative), 99.5))
        # decimation can leave more variance than there was
        top = 1.3 * float(np.nanmax([1.0, *(s.variance_left for s in scales), *(s.derivative_left for s in scales)]))
        for step, (scale, (image, steepness, left)) in enumerate(zip(scales, rows.T, strict=True)):
            index = slice_index // 2**step
            shown = {"cmap": "gray", "interpolation": "nearest", "aspect": "auto"}
            # a reduced odd axis sticks out by part of a voxel; the window cuts that off
            end = (2**step * scale.image.shape[-1] * spacing[-1], 2**step * scale.image.shape[-2] * spacing[-2])
            for axes, picture, window in (
                (image, _slice(scale.image, index), (low, high)),
                (steepness, _slice(scale.derivative, index), (-steepest if derivative == "x" else 0.0, steepest)),
            ):
                axes.imshow(picture, vmin=window[0], vmax=window[1], extent=(0, end[0], end[1], 0), **shown)
                axes.set(xticks=[], yticks=[], xlim=extent[:2], ylim=extent[2:])
            sizes = "×".join(map(str, scale.image.shape))
            image.set_title(f"{'original' if step == 0 else f'1/{2**step}'}\n{sizes}", fontsize=FONT)
            _draw_left(left, scale, top=top)
        for axes, name in zip(rows[:, 0], ("intensity", ROWS[derivative], "energy left"), strict=True):
            axes.set_ylabel(name)
        figure.suptitle(title, fontsize=FONT + 1)
        with atomic_path(path) as file:
            figure.savefig(file, format=path.suffix[1:].lower(), dpi=300)


def _slice(values: NDArray[np.float64], index: int) -> NDArray[np.float64]:
    return values[index] if values.ndim == 3 else values


def _draw_left(axes: Axes, scale: Scale, *, top: float) -> None:
    values = {"intensity": (scale.variance_left, BLUE), "derivative": (scale.derivative_left, ORANGE)}
    for place, (share, colour) in enumerate(values.values()):
        axes.bar(place, share, color=colour, width=0.7)
        axes.annotate(
            f"{share:.0%}" if share >= 0.1 else f"{share:.1%}",
            (place, share),
            ha="center",
            va="bottom",
            fontsize=FONT - 1,
        )
    axes.set(ylim=(0, top), yticks=[], xlim=(-0.6, 1.6))
    axes.set_xticks([0, 1], list(values), fontsize=FONT - 2)
    axes.spines[["top", "right", "left"]].set_visible(False)
