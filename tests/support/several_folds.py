"""More folds for the tiny teacher: its own weights with noise, so that no two of its networks agree."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from pathlib import Path

import torch

from nndistill.nnunet.models.checkpoints import read_checkpoint, write_checkpoint

FINAL = "checkpoint_final.pth"


def add_folds(teacher: Path, folds: Iterable[int], *, noise: float = 0.02) -> None:
    """Make these folds out of fold 0."""
    for fold in folds:
        folder = teacher / f"fold_{fold}"
        folder.mkdir()
        checkpoint = read_checkpoint(teacher / "fold_0" / FINAL)
        drawn = torch.Generator().manual_seed(fold)
        for weight in checkpoint["network_weights"].values():
            if weight.is_floating_point():
                weight += noise * torch.randn(weight.shape, generator=drawn)
        checkpoint["init_args"]["fold"] = fold
        write_checkpoint(folder / FINAL, checkpoint)


def copy_of_model(teacher: Path, name: str) -> Path:
    """Another model folder of the same data set."""
    copied = teacher.parent / f"nnUNetTrainer__{name}__3d_fullres"
    shutil.copytree(teacher, copied)
    return copied
