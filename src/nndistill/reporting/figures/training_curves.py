"""Training curves: segmentation loss, distillation loss and pseudo Dice by epoch, one line per model."""

from __future__ import annotations

from collections.abc import Sequence

from ..model_results import ReportedModel
from .chart import add_model_legend, chart_looks, empty_chart
from .drawing import Drawing
from .palette import model_styles

PANELS = {
    "segmentation_loss": "Segmentation loss (training)",
    "distillation_loss": "Distillation loss, times μ",
    "dice": "Pseudo Dice (moving average)",
}


def draw_training_curves(models: Sequence[ReportedModel]) -> Drawing | None:
    """Draw the training logs of the models that have one; `None` if none has.

    Args:
        models: Models whose `curves` have the keys of `PANELS` as columns; a column of zeros is left out.
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
    return Drawing(
        name="training",
        title="Training curves",
        caption="Pseudo Dice is what nnU-Net computes on validation patches during training.",
        figure=figure,
    )
