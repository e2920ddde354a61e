"""The folds of a data set that nnU-Net has stored, and how many it makes if there are none."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ...errors import UserError

SPLIT = "splits_final.json"
STOCK_FOLDS = 5
"""Folds of a data set that came with none."""


def stored_folds(folder: Path) -> list[dict[str, list[str]]] | None:
    """Read the folds of a preprocessed data set; None if nnU-Net's first training has not stored them yet.

    Raises:
        UserError: The file is not a list of folds, each with the names of its cases.
    """
    file = folder / SPLIT
    if not file.is_file():
        return None
    try:
        folds = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UserError(f"{file} is not valid JSON: {error}. Correct it, or delete it: nnU-Net makes folds.") from error
    if not isinstance(folds, list) or not folds or not all(map(_is_fold, folds)):
        raise UserError(
            f"{file} has to be a list of folds, each with the names of its cases in `train` and in `val`. Correct it, "
            "or delete it: nnU-Net makes folds."
        )
    return folds


def _is_fold(fold: Any) -> bool:
    return isinstance(fold, dict) and all(
        isinstance(fold.get(part), list) and all(isinstance(case, str) for case in fold[part])
        for part in ("train", "val")
    )
