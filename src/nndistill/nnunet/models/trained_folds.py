"""Which folds of model folders are trained, found from file names alone."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ...errors import UserError


def trained_folds(model: Path) -> list[str]:
    """The folds of a model folder that have a checkpoint, such as `["0", "1", "all"]`."""
    return sorted({file.parent.name.removeprefix("fold_") for file in model.glob("fold_*/checkpoint_*.pth")})


def common_folds(models: Sequence[Path]) -> list[str]:
    """The folds that all of several models have."""
    return sorted(set.intersection(*(set(trained_folds(model)) for model in models)))


def refuse_several_folds(models: Sequence[Path], *, predictions: bool = False) -> None:
    """Refuse models of which it is not clear which fold is meant.

    Args:
        models: Their folders.
        predictions: Whether predictions are given, so that those of the fold are not what is measured.

    Raises:
        UserError: They have several folds in common.
    """
    folds = common_folds(models)
    if len(folds) > 1:
        only = " As predictions are given, it decides only whose checkpoint, curves and log are shown."
        raise UserError(
            f"all models have the folds {', '.join(folds)}; choose one of them.{only if predictions else ''}",
            option="fold",
        )
