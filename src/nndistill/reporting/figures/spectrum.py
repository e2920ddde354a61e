"""A figure of a teacher's spectrum: every band relative to the noise, stage by stage, and the levels of its detail."""

from __future__ import annotations

from pathlib import Path

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from ...analysis.spectrum import DETAILS, dimensions_of, directional_signal
from ...files import atomic_path
from ..text.spectrum_sentences import SIGNAL
from .palette import BLUE, GREEN, ORANGE, PURPLE, SKY_BLUE, VERMILLION

LEVELS = ((ORANGE, "o"), (BLUE, "s"), (GREEN, "^"), (PURPLE, "D"), (SKY_BLUE, "v"), (VERMILLION, "P"))
"""Colour and marker of each level; the seventh level has those of the first."""
FONT = 8.0  # points
PANEL = 1.65  # inches: width of a stage


def draw_spectrum(spectrum: pd.DataFrame, path: Path, *, sizes: list[tuple[int, ...]], title: str) -> None:
    """Draw energy per coefficient over noise for every stage, level and band, and the detail's share of each level.

    Args:
        spectrum: From `nndistill.analysis.spectrum.pooled_spectrum`.
        path: File to write; its ending, such as `.png` or `.svg`, is the format.
        sizes: Voxels of each stage along each axis.
        title: Line above the figure.
    """
    stages = len(sizes)
    with mpl.rc_context({"font.size": FONT, "svg.fonttype": "none", "axes.spines.top": False}):
        figure = Figure(figsize=(PANEL * max(stages, 2) + 0.9, 4.3), layout="constrained")
        FigureCanvasAgg(figure)
        rows = figure.subplots(2, stages, sharey="row", squeeze=False, height_ratios=[2.2, 1])
        for stage, size in enumerate(sizes, start=1):
            _draw_bands(rows[0][stage - 1], spectrum[spectrum["stage"] == stage])
            rows[0][stage - 1].set_title(f"stage {stage}\n{'×'.join(map(str, size))}", fontsize=FONT)
        _draw_shares(list(rows[1]), directional_signal(spectrum).reindex(range(1, stages + 1)))
        rows[0][0].set_ylabel("energy per coefficient / noise")
        rows[1][0].set_ylabel("share of the\ndirectional signal")
        figure.suptitle(title, fontsize=FONT + 1)
        figure.legend(handles=_legend(int(spectrum["level"].max())), loc="outside lower center", ncols=6, frameon=False)
        with atomic_path(path) as file:
            figure.savefig(file, format=path.suffix[1:].lower(), dpi=300)


def _draw_bands(axes: Axes, spectrum: pd.DataFrame) -> None:
    ndim = dimensions_of(spectrum)
    bands = (*DETAILS[ndim], "L" * ndim)
    last = len(bands) - 1
    ratio = spectrum["energy_per_coefficient"] / spectrum["noise"]
    axes.set_yscale("log")
    axes.axhspan(0, 1 + SIGNAL, color="0.9", zorder=0)
    axes.axhline(1, color="0.4", linewidth=0.8, linestyle="--")
    for level, rows in ratio.groupby(spectrum["level"]):
        colour, marker = _style(int(level))
        values = rows.set_axis(spectrum.loc[rows.index, "band"]).reindex(bands)
        axes.plot(range(last), values.iloc[:last], color=colour, linewidth=0.8, marker=marker, markersize=3.5)
        axes.plot([last], values.iloc[last:], color=colour, marker=marker, markersize=3.5)
    axes.axvline(last - 0.5, color="0.7", linewidth=0.5)
    axes.set_xticks(range(len(bands)), bands, rotation=90, fontfamily="monospace", fontsize=FONT - 1)
    axes.spines["right"].set_visible(False)
    axes.set_xlim(-0.5, last + 0.5)


def _draw_shares(panels: list[Axes], shares: pd.DataFrame) -> None:
    for axes, (_, row) in zip(panels, shares.iterrows(), strict=True):
        for level, share in enumerate(row, start=1):
            height = 0.0 if np.isnan(share) else share
            axes.bar(level, height, color=_style(level)[0], width=0.7)
            text = "–" if np.isnan(share) else f"{share:.0%}"
            axes.annotate(text, (level, height), ha="center", va="bottom", fontsize=FONT - 1)
        levels = range(1, shares.shape[1] + 1)
        axes.set(xticks=levels, xlabel="level", ylim=(0, 1.15), xlim=(0.4, len(levels) + 0.6), yticks=[0, 0.5, 1])
        axes.spines["right"].set_visible(False)


def _legend(levels: int) -> list[Line2D | Patch]:
    entries: list[Line2D | Patch] = [
        Line2D([], [], color=colour, marker=marker, markersize=3.5, linewidth=0.8, label=f"level {level}")
        for level, (colour, marker) in ((level, _style(level)) for level in range(1, levels + 1))
    ]
    entries.append(Line2D([], [], color="0.4", linewidth=0.8, linestyle="--", label="noise alone"))
    entries.append(Patch(color="0.9", label=f"SNR below {SIGNAL:g}"))
    return entries


def _style(level: int) -> tuple[str, str]:
    return LEVELS[(max(level, 1) - 1) % len(LEVELS)]
