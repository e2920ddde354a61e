"""Trainings that Ctrl-C stops at the start of an epoch."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from nndistill.nnunet.training.recipe_trainer import nnUNetTrainerRecipe


@contextmanager
def stopping_in_epoch(number: int) -> Iterator[None]:
    """Let every training stop at the start of this epoch, counted from 0."""
    start = nnUNetTrainerRecipe.on_epoch_start

    def stop(trainer: Any) -> None:
        if trainer.current_epoch == number:
            raise KeyboardInterrupt
        start(trainer)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(nnUNetTrainerRecipe, "on_epoch_start", stop)
        yield
