"""A figure of how far a student is from its teacher in the high and in the low bands, stage by stage."""

from __future__ import annotations

from pathlib import Path

import matplotlib as mpl
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from ...files import atomic_path
from .palette import BLUE, ORANGE

FONT = 8.0
BANDS = {"high": ("high bands (detail)", ORANGE, "^", 0.12), "low": ("lowest band", BLUE, "o", -0.12)}
MEASURES = {"{}_norm": "norm of the mismatch\n(Eq. 1 of the paper)", "{}": "relative mismatch\n(squared)"}
"""How the columns of a measure are named, and the label of its axis."""
NAMES = {"run": "φ of the run", "least squares": "φ by least squares"}


def draw_mismatch(mismatch: pd.DataFrame, path: Path, *, title: str) -> None:
    """Draw the mismatch of every case (small markers) and the mean (large markers), one column of panels per φ.

    The norms, which Eq. 1 of the paper compares, are above; the squares relative to the teacher's own are below.

    Args:
        mismatch: From `nndistill.analysis.diagnosis.diagnose`.
        path: File to write; its ending, such as `.png` or `.svg`, is the format.
        title: Line above the figure.
    """
    origins = list(mismatch["phi"].unique())
    with mpl.rc_context({"font.size": FONT, "svg.fonttype": "none", "axes.spines.top": False}):
        figure = Figure(figsize=(1.2 + 2.6 * len(origins), 5.0), layout="constrained")
        FigureCanvasAgg(figure)
        panels = figure.subplots(2, len(origins), sharex="col", sharey="row", squeeze=False)
        for column, origin in zip(panels.T, origins, strict=True):
            rows = mismatch[mismatch["phi"] == origin]
            for axes, measure in zip(column, MEASURES, strict=True):
                _draw_measure(axes, rows, measure)
            column[0].set_title(NAMES[origin], fontsize=FONT)
            column[1].axhline(1, color="0.4", linewidth=0.8, linestyle="--", label="a student of zeros")
            column[1].yaxis.set_major_formatter("{x:g}")
            column[1].set(xlabel="stage", xticks=sorted(rows["stage"].unique()))
        for axes, label in zip(panels[:, 0], MEASURES.values(), strict=True):
            axes.set_ylabel(label)
        figure.suptitle(title, fontsize=FONT + 1)
        figure.legend(
            *panels[1][0].get_legend_handles_labels(), loc="outside lower center", ncols=len(origins) + 1, frameon=False
        )
        with atomic_path(path) as file:
            figure.savefig(file, format=path.suffix[1:].lower(), dpi=300)


def _draw_measure(axes: Axes, rows: pd.DataFrame, measure: str) -> None:
    for band, (name, colour, marker, offset) in BANDS.items():
        values = rows[measure.format(band)]
        means = values.groupby(rows["stage"]).mean()
        axes.plot(rows["stage"] + 2 * offset, values, marker, color=colour, markersize=3, alpha=0.6, mew=0)
        axes.plot(means.index + offset, means, color=colour, marker=marker, markersize=6, lw=0.8, label=name)
    axes.set_yscale("log")
    axes.spines["right"].set_visible(False)
