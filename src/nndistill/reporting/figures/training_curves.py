"""Training curves: how segmentation loss, distillation loss and pseudo Dice went, a line a model."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.figure import Figure

from ..model_results import ReportedModel
from .chart import add_model_legend, chart_looks, empty_chart
from .palette import model_styles

PANELS = {
    "segmentation_loss": "Segmentation loss (training)",
    "distillation_loss": "Distillation loss, times μ",
    "dice": "Pseudo Dice (moving average)",
}


def draw_training_curves(models: Sequence[ReportedModel]) -> Figure | None:
    """Draw the logs of the models that have one; nothing if none has.

    Args:
        models: With `curves`, whose columns are the keys of `PANELS`; an item that is zero throughout is left out.
    """
    logged = {model.name: model.curves for model in models if model.curves is not None and len(model.curves)}
    if not logged:
        return None
    shown = [item for item in PANELS if any(item in log and log[item].any() for log in logged.values())]
    styles = model_styles(models)
    with chart_looks():
        figure = empty_chart(2.4)
        for axes, item in zip(figure.subplots(1, len(shown), squeeze=False)[0], shown, strict=True):
            for name, log in logged.items():
                if item in log and log[item].any():
                    style = styles[name]
                    marks = {"marker": style.marker, "markersize": 3, "markevery": max(1, len(log) // 8)}
                    axes.plot(range(1, len(log) + 1), log[item], color=style.colour, **marks)
            axes.set(title=PANELS[item], xlabel="epoch")
            if item == "distillation_loss":  # of methods that differ by orders of magnitude
                axes.set_yscale("log")
            axes.xaxis.get_major_locator().set_params(integer=True)
        add_model_legend(figure, styles, list(logged))
    return figure
