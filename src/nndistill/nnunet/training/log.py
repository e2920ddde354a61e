"""The log of a training: nnU-Net's, with the terms of the loss, and a figure of both."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from nnunetv2.training.logging.nnunet_logger import LocalLogger

from ...files import atomic_path

LOSSES = ("segmentation_losses", "distillation_losses")


class RecipeLogger(LocalLogger):  # type: ignore[misc]
    """nnU-Net's log, one value per item and epoch, with two more items and another figure."""

    def __init__(self) -> None:
        super().__init__()
        self.my_fantastic_logging.update({key: [] for key in LOSSES})

    def plot_progress_png(self, output_folder: str) -> None:
        """Draw `progress.png`."""
        with atomic_path(Path(output_folder) / "progress.png") as path:
            draw_progress(self.my_fantastic_logging, path)


def draw_progress(log: dict[str, list[Any]], path: Path) -> None:
    """Draw the log of a training so far.

    Args:
        log: One list per item with one entry per epoch, as nnU-Net's logger keeps them, including
            `segmentation_losses` and `distillation_losses` (weighted with μ).
        path: The PNG file to write.
    """
    figure = Figure(figsize=(10, 9), layout="constrained")
    FigureCanvasAgg(figure)
    losses, rest = figure.subfigures(2, 1, height_ratios=[2, 1])  # type: ignore[misc]
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

    rate, duration = rest.subplots(1, 2)
    rate.plot(epochs, log["lrs"], color="tab:blue")
    rate.set(xlabel="epoch", ylabel="learning rate", ylim=(0, None))
    duration.plot(epochs, np.subtract(log["epoch_end_timestamps"], log["epoch_start_timestamps"]), color="tab:blue")
    duration.set(xlabel="epoch", ylabel="seconds per epoch", ylim=(0, None))
    figure.savefig(path, dpi=90, format="png")
