"""Five folds: by patient, as stock nnU-Net makes them, or from a file."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from ...errors import UserError

FOLDS = 5
SEED = 12345

Fold = dict[str, list[str]]
"""Names of cases under `train` and `val`, as in nnU-Net's `splits_final.json`."""


def check_split(kind: str) -> None:
    """Refuse a split that does not exist before time is spent on reading the data.

    Raises:
        UserError: It is neither `patient` nor `nnunet`, nor a file.
    """
    if kind not in {"patient", "nnunet"} and not Path(kind).is_file():
        raise UserError(
            f"there is no split {kind!r}: give patient, nnunet, or a file like nnU-Net's splits_final.json.",
            option="split",
        )


def make_split(kind: str, patients: Mapping[str, str], *, left_out: Sequence[str] = ()) -> list[Fold]:
    """Divide cases into folds.

    Args:
        kind: `patient`, `nnunet`, or the path of a file in the form of nnU-Net's `splits_final.json`.
        patients: The patient of every training case, by the case's name.
        left_out: Damaged cases, which a file may name.

    Returns:
        The folds; none if there are fewer patients, or cases, than folds.

    Raises:
        UserError: The file does not hold a split, or names other cases.
    """
    if kind == "patient":
        return patient_split(patients)
    if kind == "nnunet":
        from ...nnunet.data.splits import stock_split

        return stock_split(list(patients)) if len(patients) >= FOLDS else []
    return _read_split(Path(kind), set(patients), set(left_out))


def patient_split(patients: Mapping[str, str]) -> list[Fold]:
    """Divide cases into five folds of about equal size, all cases of a patient in one; the same each time.

    Patients are shuffled and sorted by number of cases, most first; each goes to the fold with fewest cases so far.

    Args:
        patients: The patient of every case, by the case's name.
    """
    of_patient = defaultdict(list)
    for case in sorted(patients):
        of_patient[patients[case]].append(case)
    if len(of_patient) < FOLDS:
        return []
    shuffled = np.random.default_rng(SEED).permutation(sorted(of_patient)).tolist()
    held_out: list[list[str]] = [[] for _ in range(FOLDS)]
    for patient in sorted(shuffled, key=lambda patient: -len(of_patient[patient])):
        min(held_out, key=len).extend(of_patient[patient])
    return [
        {"train": sorted(case for other in held_out if other is not fold for case in other), "val": sorted(fold)}
        for fold in held_out
    ]


def patients_on_both_sides(folds: Sequence[Fold], patients: Mapping[str, str]) -> int:
    """Count the patients that are both in training and in validation of some fold."""
    shared: set[str] = set()
    for fold in folds:
        shared |= {patients[case] for case in fold["train"]} & {patients[case] for case in fold["val"]}
    return len(shared)


def _read_split(path: Path, cases: set[str], left_out: set[str]) -> list[Fold]:
    try:
        folds = json.loads(path.read_text(encoding="utf-8"))
        named = [{part: [str(case) for case in fold[part]] for part in ("train", "val")} for fold in folds]
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}.", option="split") from error
    except (ValueError, TypeError, KeyError) as error:
        raise UserError(
            f'{path} is not a list of folds with "train" and "val", like nnU-Net\'s splits_final.json.', option="split"
        ) from error
    if not named:
        raise UserError(f"{path} holds no fold.", option="split")
    for number, fold in enumerate(named):
        both = sorted({*fold["train"]} & {*fold["val"]})
        unknown = sorted({*fold["train"], *fold["val"]} - cases - left_out)
        if both:
            raise UserError(f"{path}: fold {number} has {both[0]} both in training and in validation.", option="split")
        if unknown:
            raise UserError(
                f"{path}: fold {number} names {unknown[0]}, which is not a training case of this data set.",
                option="split",
            )
        for part, words in (("train", "training"), ("val", "validation")):
            if not cases.intersection(fold[part]):
                raise UserError(f"{path}: fold {number} has no {words} cases (`{part}`).", option="split")
            if len(set(fold[part])) < len(fold[part]):
                twice = next(case for case in fold[part] if fold[part].count(case) > 1)
                raise UserError(f"{path}: fold {number} names {twice} twice in `{part}`.", option="split")
    return [{part: [case for case in fold[part] if case in cases] for part in fold} for fold in named]
