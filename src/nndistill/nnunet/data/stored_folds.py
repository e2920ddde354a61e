"""The folds of a data set that nnU-Net has stored, and how many it makes if there are none."""

from __future__ import annotations

import json
from pathlib import Path

SPLIT = "splits_final.json"
STOCK_FOLDS = 5
"""Folds of a data set that came with none."""


def stored_folds(folder: Path) -> list[dict[str, list[str]]] | None:
    """Read the folds of a preprocessed data set; None if nnU-Net's first training has not stored them yet."""
    file = folder / SPLIT
    return list(json.loads(file.read_text())) if file.is_file() else None
