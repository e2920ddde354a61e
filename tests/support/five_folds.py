"""A trained student with more folds, whose weights differ as those of separate trainings do."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch


def add_folds(model: Path, folds: Sequence[int], *, change: Callable[[dict[str, Any]], None] = lambda _: None) -> Path:
    """Copy fold 0 of a model, with noise of half their spread in all weights and whatever `change` makes of it."""
    for fold in folds:
        shutil.copytree(model / "fold_0", model / f"fold_{fold}")
        file = model / f"fold_{fold}" / "checkpoint_final.pth"
        checkpoint = torch.load(file, weights_only=False)
        checkpoint["init_args"]["fold"] = fold
        generator = torch.Generator().manual_seed(fold)
        checkpoint["network_weights"] = {
            name: weight + 0.5 * weight.std(correction=0) * torch.randn(weight.shape, generator=generator)
            for name, weight in checkpoint["network_weights"].items()
        }
        change(checkpoint)
        torch.save(checkpoint, file)
    return model
