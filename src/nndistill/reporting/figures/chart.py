"""What all charts share: their style, and how they are written as vector graphics and as pixels."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path

import matplotlib as mpl
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from ...files import atomic_path
from .palette import INK, ModelStyle

WIDTH = 7.0  # inches: width of a page's text

_LOOKS = {
    "font.size": 8.0,
    "axes.titlesize": 8.0,
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "legend.frameon": False,
    "lines.linewidth": 1.2,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "svg.fonttype": "none",
    "svg.hashsalt": "nndistill",  # the same figure is the same file
    "pdf.fonttype": 42,
    **{f"{item}.color": INK for item in ("text", "xtick", "ytick")},
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
}


def chart_looks() -> AbstractContextManager[None]:
    """The style of a chart, for the `with` block in which it is drawn."""
    return mpl.rc_context(_LOOKS)


def empty_chart(height: float) -> Figure:
    """An empty figure as wide as a page, with automatic layout."""
    figure = Figure(figsize=(WIDTH, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def add_model_legend(figure: Figure, styles: dict[str, ModelStyle], names: Sequence[str]) -> None:
    """Name the models above a chart."""
    handles = [
        Line2D([], [], label=name, color=styles[name].colour, marker=styles[name].marker, markersize=4.5)
        for name in names
    ]
    longest = max(len(name) for name in names)
    figure.legend(handles=handles, loc="outside upper left", ncols=max(1, round(90 / (longest + 8))), handlelength=1.6)


def save_chart(figure: Figure, folder: Path, name: str, *, dpi: int = 200) -> list[Path]:
    """Write `NAME.pdf` and `NAME.svg` for papers and `NAME.png` for everything else."""
    paths = [folder / f"{name}.{ending}" for ending in ("pdf", "svg", "png")]
    with chart_looks():
        figure.draw_without_rendering()
        figure.set_layout_engine("none")  # the layout is done; it need not be repeated for every format
        for path in paths:
            with atomic_path(path) as file:
                undated: dict[str, dict[str, None]] = {".pdf": {"CreationDate": None}, ".svg": {"Date": None}}
                figure.savefig(
                    file,
                    format=path.suffix[1:],
                    dpi=dpi,
                    transparent=path.suffix != ".png",
                    metadata=undated.get(path.suffix),
                )
    return paths
