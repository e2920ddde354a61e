"""Paired differences: what every case gains or loses compared with a baseline, with the mean and its interval."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes

from ...evaluation.comparison import Comparison
from ..metrics import Metric
from ..model_results import ReportedModel
from .chart import chart_looks, empty_chart
from .drawing import Drawing
from .palette import INK, ModelStyle, model_styles


def draw_differences(
    models: Sequence[ReportedModel], comparisons: Mapping[Metric, Comparison], *, baseline: str
) -> Drawing:
    """Draw one panel per metric: the cases as points, the mean as a tick on its 95 % bootstrap interval.

    Args:
        models: All models of the report, for their colours.
        comparisons: At least one comparison of these models with the baseline.
        baseline: Name of the baseline.
    """
    styles = model_styles(models)
    names = [str(name) for name in next(iter(comparisons.values())).table.index]
    with chart_looks():
        figure = empty_chart(0.95 + 0.36 * len(names))
        panels = figure.subplots(1, len(comparisons), sharey=True, squeeze=False)[0]
        for axes, (metric, comparison) in zip(panels, comparisons.items(), strict=True):
            axes.axvline(0, color=INK, linewidth=0.6)
            for row, name in enumerate(names):
                _draw_model(axes, comparison, name, row, styles[name])
            better = "better →" if metric.higher_is_better else "← better"
            axes.set(xlabel=metric.label, title=better)
            axes.tick_params(axis="y", length=0)
            axes.spines["left"].set_visible(False)
            farthest = max(map(abs, axes.get_xlim()))
            axes.set_xlim(-farthest, farthest)
        panels[0].set_yticks(range(len(names)), names)
        panels[0].set_ylim(len(names) - 0.5, -0.5)
        figure.supxlabel(f"difference from {baseline}", fontsize=7)
    return Drawing(
        name="differences",
        title=f"Differences from {baseline}, case by case",
        caption=f"Each point is a case: its score minus that of {baseline} on the same case. The bar is the 95 % "
        "bootstrap interval of the mean, and the tick is the mean.",
        figure=figure,
    )


def _draw_model(axes: Axes, comparison: Comparison, name: str, row: int, style: ModelStyle) -> None:
    cases = comparison.differences[name].dropna().to_numpy(dtype=np.float64)
    spread = 0.3 * ((np.arange(len(cases)) * 0.618) % 1 - 0.5)
    axes.scatter(cases, row + 0.12 + spread, s=12, color=style.colour, marker=style.marker, alpha=0.75, linewidths=0)
    mean, low, high = comparison.table.loc[name, ["difference", "ci_low", "ci_high"]].to_numpy(dtype=np.float64)
    axes.plot([low, high], [row - 0.25] * 2, color=style.colour, linewidth=2.4, solid_capstyle="butt")
    axes.plot([mean], [row - 0.25], color=INK, marker="|", markersize=8, markeredgewidth=1.4)
