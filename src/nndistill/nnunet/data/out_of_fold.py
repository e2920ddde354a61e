"""Out-of-fold: the fold whose network has not seen a case."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ...errors import UserError
from .named_cases import named_cases
from .stored_folds import SPLIT, stored_folds


def out_of_fold(folder: Path, cases: Sequence[str]) -> dict[str, str]:
    """Name the fold of each case that holds it out: it is among the fold's validation cases, and none of its training.

    Args:
        folder: A preprocessed data set.
        cases: Names of cases.

    Returns:
        The fold's number by the case's name; the first of several.

    Raises:
        UserError: The folds are not stored, so that nothing says what their networks have seen; or no fold holds a case
            out.
    """
    folds = stored_folds(folder)
    if folds is None:
        raise UserError(
            f"there is no {folder / SPLIT}, so nothing says which cases the teacher of each fold has seen; put the "
            "file there with which the teacher was trained.",
            option="teacher_fold",
        )
    held_out = {
        case: str(number)
        for number, fold in reversed(list(enumerate(folds)))
        for case in set(fold["val"]) - set(fold["train"])
    }
    if seen := [case for case in cases if case not in held_out]:
        raise UserError(
            f"{len(seen)} of the {len(cases)} training cases ({named_cases(seen)}) are held out by no fold of "
            f"{folder / SPLIT}, so every teacher may have seen them; train on other cases, or name the "
            "folds of the teacher.",
            option="teacher_fold",
        )
    return {case: held_out[case] for case in cases}
