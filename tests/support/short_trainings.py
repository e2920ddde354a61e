"""A training of seconds through the command line, on any device."""

from __future__ import annotations

from pathlib import Path

import torch

from trained_world import World


def distillation(world: World, name: str, device: torch.device, *more: object) -> list[str]:
    """The arguments of a distillation of two batches per epoch."""
    values = ["distill", world.teacher, "--workspace", world.workspace, "--name", name, "--recipe", "quick"]
    return [str(value) for value in [*values, "--iterations", 2, "--device", device.type, *more]]


def fold_folder(world: World, name: str) -> Path:
    return world.results / f"nnUNetTrainerDistill__{name}__3d_fullres" / "fold_0"
