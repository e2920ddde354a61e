"""A figure of how far a student is from its teacher in the high and in the low bands, stage by stage."""

from __future__ import annotations

from pathlib import Path

import matplotlib as mpl
import pandas as pd
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from ...files import atomic_path
from .palette import BLUE, ORANGE

FONT = 8.0
BANDS = {"high": ("high bands (detail)", ORANGE, "^", 0.12), "low": ("low band (LLL)", BLUE, "o", -0.12)}
NAMES = {"run": "φ of the run", "least squares": "φ by least squares"}


def draw_mismatch(mismatch: pd.DataFrame, path: Path, *, title: str) -> None:
    """Draw the mismatch of every case (small markers) and the mean (large markers), one panel per φ.

    Args:
        mismatch: From `nndistill.analysis.diagnosis.diagnose`.
        path: File to write; its ending, such as `.png` or `.svg`, is the format.
        title: Line above the figure.
    """
    origins = list(mismatch["phi"].unique())
    with mpl.rc_context({"font.size": FONT, "svg.fonttype": "none", "axes.spines.top": False}):
        figure = Figure(figsize=(1.0 + 2.6 * len(origins), 3.0), layout="constrained")
        FigureCanvasAgg(figure)
        panels = figure.subplots(1, len(origins), sharey=True, squeeze=False)[0]
        for axes, origin in zip(panels, origins, strict=True):
            rows = mismatch[mismatch["phi"] == origin]
            axes.axhline(1, color="0.4", linewidth=0.8, linestyle="--", label="a student of zeros")
            for band, (name, colour, marker, offset) in BANDS.items():
                means = rows.groupby("stage")[band].mean()
                axes.plot(rows["stage"] + 2 * offset, rows[band], marker, color=colour, markersize=3, alpha=0.6, mew=0)
                axes.plot(means.index + offset, means, color=colour, marker=marker, markersize=6, lw=0.8, label=name)
            axes.set(yscale="log", xlabel="stage", title=NAMES[origin], xticks=sorted(rows["stage"].unique()))
            axes.title.set_fontsize(FONT)
            axes.yaxis.set_major_formatter("{x:g}")
            axes.spines["right"].set_visible(False)
        panels[0].set_ylabel("relative mismatch")
        figure.suptitle(title, fontsize=FONT + 1)
        figure.legend(
            *panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=len(origins) + 1, frameon=False
        )
        with atomic_path(path) as file:
            figure.savefig(file, format=path.suffix[1:].lower(), dpi=300)
