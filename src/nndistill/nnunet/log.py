"""The log of a training: nnU-Net's, with the terms of the loss and a figure that shows them."""

from __future__ import annotations

from pathlib import Path

from nnunetv2.training.logging.nnunet_logger import LocalLogger

from ..files import atomic_path
from .progress_figure import draw_progress

LOSSES = ("segmentation_losses", "distillation_losses")


class RecipeLogger(LocalLogger):  # type: ignore[misc]
    """nnU-Net's log of one value an item and epoch, with two items more and its own figure."""

    def __init__(self) -> None:
        super().__init__()
        self.my_fantastic_logging.update({key: [] for key in LOSSES})

    def plot_progress_png(self, output_folder: str) -> None:
        """Draw `progress.png`."""
        with atomic_path(Path(output_folder) / "progress.png") as path:
            draw_progress(self.my_fantastic_logging, path)
