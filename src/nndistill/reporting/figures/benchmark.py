"""What speed costs in accuracy: Dice against latency, or the latencies alone if no metrics are given."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter

from ...benchmark.result import Benchmark
from ...benchmark.timing import Timing
from ...evaluation.aggregates import mean_of_labels
from ..metrics import DICE
from .chart import add_model_legend, chart_looks, empty_chart
from .palette import GREY, INK, MARKERS, STUDENTS, ModelStyle


def draw_benchmark(benchmark: Benchmark, metrics: Mapping[str, pd.DataFrame] | None = None) -> Figure:
    """Draw each model at its latency for the case, or for a patch if no case was measured, on a logarithmic scale.

    Whiskers: the fastest and the slowest round, and the standard error of the mean Dice over cases.

    Args:
        benchmark: The measurement; the first model is grey.
        metrics: Metrics by the models' names; a model without any is left out, unless none has any.
    """
    models = [model for model in benchmark.models if not metrics or model.name in metrics]
    of_case = all(model.case for model in models)
    latencies = {model.name: model.case if model.case and of_case else model.patch for model in models}
    colours = [GREY, *(STUDENTS[rank % len(STUDENTS)] for rank in range(len(benchmark.models)))]
    styles = {
        model.name: ModelStyle(colours[rank], MARKERS[rank % len(MARKERS)])
        for rank, model in enumerate(benchmark.models)
    }
    with chart_looks():
        figure = empty_chart(3.0 if metrics else 0.8 + 0.3 * len(models))
        axes = figure.subplots()
        if metrics:
            for name, latency in latencies.items():
                _draw_point(axes, latency, metrics[name], styles[name])
            axes.set_ylabel(f"{DICE.label}, mean ± SEM")
            add_model_legend(figure, styles, list(latencies))
        else:
            _draw_latencies(axes, latencies, styles)
        _scale(axes, list(latencies.values()))
        axes.set_xlabel(f"Seconds per {'case' if of_case else 'patch'}: median, fastest and slowest round")
    return figure


def _around(timing: Timing) -> list[list[float]]:
    fastest, slowest = timing.spread
    return [[timing.median - fastest], [slowest - timing.median]]


def _draw_point(axes: Axes, latency: Timing, metrics: pd.DataFrame, style: ModelStyle) -> None:
    dice = mean_of_labels(metrics, DICE.column)
    axes.errorbar(
        latency.median,
        dice.value,
        xerr=_around(latency),
        yerr=np.nan_to_num(dice.error),
        color=style.colour,
        marker=style.marker,
        markersize=6,
        elinewidth=0.8,
    )


def _draw_latencies(axes: Axes, latencies: Mapping[str, Timing], styles: Mapping[str, ModelStyle]) -> None:
    base = next(iter(latencies.values()))
    for place, (name, latency) in enumerate(latencies.items()):
        style = styles[name]
        axes.errorbar(
            latency.median,
            place,
            xerr=_around(latency),
            color=style.colour,
            marker=style.marker,
            markersize=6,
            elinewidth=0.8,
        )
        text = f"{latency.median:.3g} s"
        if place:
            text += f", {latency.speed(base).ratio:.2g} × as fast"
        axes.annotate(text, (latency.median, place), (8, 4), textcoords="offset points", color=INK)
    axes.set_yticks(range(len(latencies)), list(latencies))
    axes.set_ylim(len(latencies) - 0.5, -0.6)
    axes.tick_params(axis="y", length=0)


def _scale(axes: Axes, latencies: Sequence[Timing]) -> None:
    fastest = min(timing.spread[0] for timing in latencies)
    slowest = max(timing.spread[1] for timing in latencies)
    axes.set_xscale("log")
    axes.set_xlim(fastest / 1.4, slowest * 2)  # room for text on the right
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_minor_formatter(NullFormatter())
