"""Trainings on the same batches however many processes share them, and what each process ends with."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
from torch.nn.functional import interpolate

from nndistill.cli import main
from nndistill.nnunet.training.across_processes import process_count
from nndistill.nnunet.training.distillation_trainer import nnUNetTrainerDistill
from trained_world import World

KEPT = "kept_by_{}.pth"
HALFWAY = "halfway.pth"

RECIPE = {
    "distillation_weight": 0.5,
    "optimizer": {"name": "sgd", "learning_rate": 0.01},
    "epochs": 2,
    "iterations": 2,
    "validation_iterations": 1,
    "save_every": 1,
    "seed": 5,
    "precision": "float32",
}
"""Not Adam, which turns the rounding of a gradient that is zero into a step of full length."""


def train_on_fixed_batches(arguments: list[str]) -> None:
    """Run a command line that trains; each process keeps student, φ and the files that it opened to write."""
    torch.set_num_threads(1)
    nnUNetTrainerDistill.get_dataloaders = _fixed_batches
    end, save = nnUNetTrainerDistill.on_train_end, nnUNetTrainerDistill.save_checkpoint

    def keep(trainer: Any) -> None:
        end(trainer)
        weights = {name.removeprefix("module."): value for name, value in trainer.network.state_dict().items()}
        kept = {"weights": weights, "method": trainer.method.state_dict(), "logging": trainer.logger.get_checkpoint()}
        torch.save(kept, Path(trainer.output_folder) / KEPT.format(trainer.local_rank))

    def keep_first(trainer: Any, filename: str) -> None:
        save(trainer, filename)
        if filename.endswith("checkpoint_latest.pth") and trainer.local_rank == 0:
            shutil.copyfile(filename, Path(filename).with_name(HALFWAY))

    nnUNetTrainerDistill.on_train_end, nnUNetTrainerDistill.save_checkpoint = keep, keep_first
    try:
        with pytest.raises(SystemExit) as stop:
            main(arguments)
        assert not stop.value.code
    finally:
        del nnUNetTrainerDistill.get_dataloaders
        del nnUNetTrainerDistill.save_checkpoint
        nnUNetTrainerDistill.on_train_end = end


def _fixed_batches(trainer: nnUNetTrainer) -> tuple[Iterator[dict[str, Any]], Iterator[dict[str, Any]]]:
    return _batches(trainer, 0), _batches(trainer, 1000)


def _batches(trainer: nnUNetTrainer, first: int) -> Iterator[dict[str, Any]]:
    """Batches that depend on their number in the whole training alone, and this process's share of them."""
    size = trainer.configuration_manager.batch_size
    share = size // process_count()
    mine = slice(trainer.local_rank * share, (trainer.local_rank + 1) * share)
    number = first + trainer.current_epoch * trainer.num_iterations_per_epoch
    while True:
        drawn = torch.Generator().manual_seed(number)
        shape = (size, trainer.num_input_channels, *trainer.configuration_manager.patch_size)
        data = torch.randn(shape, generator=drawn)
        labels = interpolate((data[:, :1] > 1).float(), size=shape[2:])
        targets = [
            interpolate(labels, scale_factor=tuple(scale), mode="nearest").to(torch.int16)
            for scale in trainer._get_deep_supervision_scales()
        ]
        yield {"data": data[mine], "target": [target[mine] for target in targets]}
        number += 1


def fold_folder(world: World, name: str) -> Path:
    """Where the student of this name is."""
    return world.results / f"nnUNetTrainerDistill__{name}__3d_fullres" / "fold_0"


def assert_close(one: Mapping[str, torch.Tensor], other: Mapping[str, torch.Tensor]) -> None:
    """Compare weights by name, up to the rounding of a few steps."""
    assert one.keys() == other.keys()
    for name in one:
        torch.testing.assert_close(one[name], other[name], rtol=1e-3, atol=1e-5, msg=lambda m, n=name: f"{n}: {m}")
