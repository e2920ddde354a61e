"""The log of a training: nnU-Net's, with the terms of the loss, and a figure of both."""

from __future__ import annotations

from collections.abc import Sequence
from math import isnan
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from nnunetv2.training.logging.nnunet_logger import LocalLogger, MetaLogger

from ...files import atomic_path
from .distillation_weight import EpochGradients

LOSSES = ("segmentation_losses", "distillation_losses")
GRADIENTS = EpochGradients._fields
"""Items of a distillation; the log of a training without a teacher has no entries for them."""
STEPS = ("skipped_steps", "gradient_scales")
"""Steps per epoch that were skipped, and the gradient scaler's scale at the epoch's end, 1 if there is no scaler."""


class RecipeLogger(LocalLogger):  # type: ignore[misc]
    """nnU-Net's log, one value per item and epoch, with more items and another figure."""

    def __init__(self) -> None:
        super().__init__()
        self.my_fantastic_logging.update({key: [] for key in (*LOSSES, *GRADIENTS, *STEPS)})

    def load_checkpoint(self, checkpoint: dict[str, list[Any]]) -> None:
        """Continue a log; in one that an older version began, what it did not measure is zero."""
        epochs = len(checkpoint["train_losses"])
        super().load_checkpoint({**{key: [0.0] * epochs for key in (*GRADIENTS, *STEPS)}, **checkpoint})

    def plot_progress_png(self, output_folder: str) -> None:
        """Draw `progress.png`."""
        with atomic_path(Path(output_folder) / "progress.png") as path:
            draw_progress(self.my_fantastic_logging, path)


class RecipeLoggers(MetaLogger):  # type: ignore[misc]
    """nnU-Net's loggers, the local one a `RecipeLogger`, and a running Dice that epochs without foreground do not end.

    Where no class is in any of the few validation batches, or predicted, an epoch has no Dice. With stock nnU-Net the
    running Dice would stay NaN from then on. Here it stays what it was, and begins with the first Dice there is.

    Args:
        stock: What nnU-Net made.
    """

    def __init__(self, stock: MetaLogger) -> None:
        self.__dict__ |= vars(stock)  # its own __init__ would begin another run of a tracker
        self.local_logger = RecipeLogger()

    def log(self, key: str, value: Any, step: int) -> None:
        """Note an item of an epoch, everywhere."""
        if key == "ema_fg_dice" and isnan(value):
            dice, before = self.get_value("mean_fg_dice", step=step), self.get_value(key, step=None)[:step]
            value = before[-1] if isnan(dice) and before else dice
        super().log(key, value, step)


def draw_progress(log: dict[str, list[Any]], path: Path) -> None:
    """Draw the log of a training so far.

    Args:
        log: One list per item with one entry per epoch, as nnU-Net's logger keeps them, including
            `segmentation_losses`, `distillation_losses` (weighted with μ) and, if there is a teacher, the fields of
            `EpochGradients`.
        path: The PNG file to write.
    """
    distilled = any(log["distillation_weights"])
    figure = Figure(figsize=(10, 12 if distilled else 9), layout="constrained")
    FigureCanvasAgg(figure)
    losses, rest = figure.subfigures(2, 1, height_ratios=[1, 1] if distilled else [2, 1])  # type: ignore[misc]
    epochs = np.arange(len(log["train_losses"]))

    left = losses.subplots()
    left.plot(epochs, log["train_losses"], color="tab:blue", label="training loss")
    left.plot(epochs, log["val_losses"], color="tab:red", label="validation loss (segmentation)")
    left.plot(epochs, log["segmentation_losses"], color="tab:blue", ls="--", label="segmentation part")
    if any(log["distillation_losses"]):
        left.plot(epochs, log["distillation_losses"], color="tab:purple", ls="--", label="distillation part (× μ)")
    left.set(xlabel="epoch", ylabel="loss")
    right = left.twinx()
    right.plot(epochs, log["mean_fg_dice"], color="tab:green", ls=":", label="pseudo Dice")
    right.plot(epochs, log["ema_fg_dice"], color="tab:green", label="pseudo Dice (moving average)")
    right.set(ylabel="pseudo Dice", ylim=(0, 1))
    figure.legend(loc="outside upper center", ncols=3, frameon=False)

    (rate, duration), *second_row = rest.subplots(2 if distilled else 1, 2, squeeze=False)
    rate.plot(epochs, log["lrs"], color="tab:blue")
    rate.set(xlabel="epoch", ylabel="learning rate", ylim=(0, None))
    duration.plot(epochs, np.subtract(log["epoch_end_timestamps"], log["epoch_start_timestamps"]), color="tab:blue")
    duration.set(xlabel="epoch", ylabel="seconds per epoch", ylim=(0, None))
    for gradients, shares in second_row:
        _draw_positive(gradients, log["segmentation_gradients"], color="tab:blue", label="segmentation")
        _draw_positive(gradients, log["distillation_gradients"], color="tab:purple", label="distillation (× μ)")
        gradients.set(xlabel="epoch", ylabel="gradient of the student (norm)")
        _draw_positive(shares, log["gradient_shares"], color="tab:purple", label="distillation / segmentation")
        _draw_positive(shares, log["distillation_weights"], color="tab:gray", ls="--", label="μ")
        shares.set(xlabel="epoch", ylabel="share of the gradient, and μ")
        for axes in (gradients, shares):
            axes.legend(
                frameon=False, ncols=2, loc="lower center", bbox_to_anchor=(0.5, 1)
            )  # above, clear of the lines
    figure.savefig(path, dpi=90, format="png")


def _draw_positive(axes: Axes, values: Sequence[float], **looks: Any) -> None:
    """Draw on a logarithmic axis, which has no place for the zeros of what was not measured."""
    line = np.asarray(values, dtype=np.float64)
    axes.plot(np.where(line > 0, line, np.nan), marker=".", **looks)
    if (line > 0).any():
        axes.set_yscale("log")
