"""The latest checkpoint knows of the best of its own epoch, and a run goes on from either with a whole log."""

from __future__ import annotations

from math import nan
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer

from nndistill.nnunet.training.recipe_trainer import nnUNetTrainerRecipe


def trainer(monkeypatch, *, best: float | None, dice: list[float], save_every: int = 50) -> tuple[Any, list[tuple]]:
    """A trainer at the end of an epoch, and the names that it saves with the best Dice so far and the log's length."""
    made = object.__new__(nnUNetTrainerRecipe)
    log: dict[str, list] = {"ema_fg_dice": dice, "epoch_end_timestamps": [0.0] * (len(dice) - 1)}
    made.__dict__ |= {"_best_ema": best, "output_folder": "run", "current_epoch": len(dice) - 1, "local_rank": 1}
    made.__dict__ |= {"save_every": save_every, "num_epochs": 1000, "is_ddp": False}
    values = {"dice_per_class_or_region": [dice], "epoch_start_timestamps": [0.0], "train_losses": [1.0]}
    made.logger = SimpleNamespace(
        get_value=lambda key, step: log.get(key, values.get(key, [0.0]))[step],
        log=lambda key, value, epoch: log[key].append(value),
    )
    made.print_to_log_file = lambda *words: None
    saved: list[tuple] = []

    def note(self: nnUNetTrainer, filename: str) -> None:
        saved.append((Path(filename).stem, self._best_ema, len(log["epoch_end_timestamps"])))

    monkeypatch.setattr(nnUNetTrainer, "save_checkpoint", note)
    return made, saved


@pytest.mark.parametrize(
    ("before", "now", "best"), [(None, 0.6, 0.6), (0.6, 0.7, 0.7), (0.7, 0.65, 0.7)], ids=["first", "better", "worse"]
)
def test_the_best_one_is_kept_before_the_latest_and_after_the_log_of_its_epoch(monkeypatch, before, now, best) -> None:
    made, saved = trainer(monkeypatch, best=before, dice=[0.1, now], save_every=2)
    made.on_epoch_end()
    assert saved == [*([("checkpoint_best", now, 2)] if now == best else []), ("checkpoint_latest", best, 2)]


def test_an_epoch_without_a_latest_checkpoint_keeps_the_best_one_too(monkeypatch) -> None:
    made, saved = trainer(monkeypatch, best=0.5, dice=[0.1, 0.6])
    made.on_epoch_end()
    assert saved == [("checkpoint_best", 0.6, 2)]


def test_a_best_one_of_epochs_without_foreground_is_replaced(monkeypatch) -> None:
    made, saved = trainer(monkeypatch, best=nan, dice=[nan, 0.1])
    made.on_epoch_end()
    assert saved == [("checkpoint_best", 0.1, 2)]
