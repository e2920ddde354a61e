"""The latest checkpoint knows of the best of its own epoch: a resumed run does not replace it by a worse one."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer

from nndistill.nnunet.training.recipe_trainer import nnUNetTrainerRecipe


@pytest.mark.parametrize(
    ("before", "now", "best"), [(None, 0.6, 0.6), (0.6, 0.7, 0.7), (0.7, 0.65, 0.7)], ids=["first", "better", "worse"]
)
def test_the_best_one_is_kept_before_nnunet_writes_the_latest(monkeypatch, before, now, best) -> None:
    trainer = object.__new__(nnUNetTrainerRecipe)
    trainer.__dict__ |= {"_best_ema": before, "output_folder": "run"}
    trainer.logger = SimpleNamespace(get_value=lambda key, step: {"ema_fg_dice": now}[key])
    trainer.print_to_log_file = lambda *words: None
    events: list[object] = []
    trainer.save_checkpoint = events.append
    monkeypatch.setattr(nnUNetTrainer, "on_epoch_end", lambda self: events.append(self._best_ema))

    trainer.on_epoch_end()

    assert events == [*(["run/checkpoint_best.pth"] if now == best else []), best]
