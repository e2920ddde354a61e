"""The folds of a data set: those that stock nnU-Net makes, and those that came with the raw data."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path

from nnunetv2.utilities.crossval_split import generate_crossval_split

from ...errors import UserError
from ...files import atomic_path
from ..workspace import preprocessed_folder, raw_folder
from .stored_folds import SPLIT, STOCK_FOLDS


def stock_split(cases: Sequence[str]) -> list[dict[str, list[str]]]:
    """Make the folds that nnU-Net makes of these cases.

    Raises:
        UserError: There are fewer than five.
    """
    if len(cases) < STOCK_FOLDS:
        raise UserError(
            f"{len(cases)} training cases are too few for nnU-Net's {STOCK_FOLDS} folds: take the fold all, or put a "
            f"{SPLIT} with folds of your own into the data set's raw folder.",
            option="fold",
        )
    folds = generate_crossval_split(sorted(cases))
    return [{part: [str(case) for case in fold[part]] for part in ("train", "val")} for fold in folds]


def adopt_split(dataset: str) -> None:
    """Copy the folds of the raw data to where training looks for them, as nnU-Net does when it plans.

    Args:
        dataset: The data set's full name.

    Raises:
        UserError: Other folds are there already, and models may have been trained on them.
    """
    given, used = raw_folder() / dataset / SPLIT, preprocessed_folder() / dataset / SPLIT
    if not given.exists():
        return
    if not used.exists():
        with atomic_path(used) as temporary:
            shutil.copyfile(given, temporary)
    elif _sides(given) != _sides(used)[: len(_sides(given))]:
        raise UserError(
            f"{used} holds other folds than {given}: delete the first to train on the second; models trained before "
            "have seen other cases."
        )


def _sides(path: Path) -> list[tuple[list[str], list[str]]]:
    return [(sorted(fold["train"]), sorted(fold["val"])) for fold in json.loads(path.read_text())]
