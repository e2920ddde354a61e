"""Box plots of the scores of all cases, per label and model: they show what a mean hides."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import NullLocator
from numpy.typing import NDArray

from ..metrics import HD95, Metric, case_means, labels_in_order
from ..model_results import ReportedModel
from .chart import add_model_legend, chart_looks, empty_chart
from .drawing import Drawing
from .palette import INK, ModelStyle, model_styles

ALL = "all labels"
FEWEST_FOR_A_BOX = 5
"""Fewer cases are shown as points with their median only."""
FARTHEST_LINEAR = 30.0
"""Distances beyond this many mm need a logarithmic scale."""

_BOXES = ", boxes reach from the first to the third quartile, and whiskers to the farthest case within 1.5 box lengths"


def draw_distributions(models: Sequence[ReportedModel], metric: Metric) -> Drawing:
    """Draw the scores of all cases as points, with boxes from the first to the third quartile and the median.

    Args:
        models: At least one.
        metric: What to show; large distances get a scale that is logarithmic beyond 1 mm.
    """
    labels = labels_in_order([model.metrics for model in models])
    groups = labels if len(labels) == 1 else [ALL, *labels]
    styles = model_styles(models)
    with chart_looks():
        figure = empty_chart(2.6)
        axes = figure.subplots()
        for place, group in enumerate(groups):
            for rank, model in enumerate(models):
                offset = 0.8 * ((rank + 0.5) / len(models) - 0.5)
                _draw_scores(
                    axes,
                    _scores(model, metric, group),
                    place + offset,
                    width=0.62 / len(models),
                    style=styles[model.name],
                )
        axes.set_xticks(range(len(groups)), groups)
        axes.set(xlim=(-0.5, len(groups) - 0.5), ylabel=metric.label)
        axes.tick_params(axis="x", length=0)
        for border in range(1, len(groups)):
            axes.axvline(border - 0.5, color=INK, linewidth=0.4, alpha=0.25)
        _scale(axes, metric)
        add_model_legend(figure, styles, [model.name for model in models])
    most = max(int(model.metrics["case"].nunique()) for model in models)
    return Drawing(
        name=metric.column,
        title=f"{metric.name} of every case",
        caption=f"{metric.label} of every case; {'higher' if metric.higher_is_better else 'lower'} is better. "
        f"The line is the median{_BOXES if most >= FEWEST_FOR_A_BOX else ''}.",
        figure=figure,
    )


def _scores(model: ReportedModel, metric: Metric, group: str) -> NDArray[np.float64]:
    chosen = case_means(model.metrics) if group == ALL else model.metrics[model.metrics["label"].astype(str) == group]
    return chosen[metric.column].dropna().to_numpy(dtype=np.float64)


def _draw_scores(axes: Axes, scores: NDArray[np.float64], at: float, *, width: float, style: ModelStyle) -> None:
    if len(scores) == 0:
        return
    spread = (np.arange(len(scores)) * 0.618) % 1 - 0.5  # even, and the same every time
    axes.scatter(
        at + 0.7 * width * spread,
        scores,
        s=12,
        color=style.colour,
        marker=style.marker,
        alpha=0.75,
        linewidths=0,
        zorder=2,
    )
    if len(scores) < FEWEST_FOR_A_BOX:
        axes.hlines(np.median(scores), at - width / 2, at + width / 2, color=INK, linewidth=1.2, zorder=3)
        return
    axes.boxplot(
        scores,
        positions=[at],
        widths=width,
        manage_ticks=False,
        showfliers=False,
        patch_artist=True,
        boxprops={"facecolor": style.colour + "30", "edgecolor": style.colour, "linewidth": 0.8},
        whiskerprops={"color": style.colour, "linewidth": 0.8},
        capprops={"color": style.colour, "linewidth": 0.8},
        medianprops={"color": INK, "linewidth": 1.2},
    )


def _scale(axes: Axes, metric: Metric) -> None:
    top = axes.get_ylim()[1]
    if metric is not HD95:
        axes.set_ylim(top=1.0 if top > 0.9 else None)
    elif top <= FARTHEST_LINEAR:
        axes.set_ylim(bottom=0)
    else:
        axes.set_yscale("symlog", linthresh=1.0, linscale=0.4)
        axes.set_ylim(0, 1.3 * top)
        axes.set_yticks([tick for tick in (0, 1, 2, 5, 10, 20, 50, 100, 200) if tick <= top])
        axes.yaxis.set_major_formatter("{x:g}")
        axes.yaxis.set_minor_locator(NullLocator())
