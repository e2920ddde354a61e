"""Which prediction belongs to which reference, and whether both are on one grid: checked before any is measured."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..errors import UserError
from ..volumes.nifti import read_grid

ENDINGS = (".nii.gz", ".nii")
SHOWN = 20
"""Problems to list before the rest are only counted."""


@dataclass(frozen=True)
class Pair:
    """The two files of a case."""

    case: str
    reference: Path
    prediction: Path


@dataclass(frozen=True)
class Pairing:
    """Cases with both files, and the names of those without.

    Args:
        pairs: Sorted by case.
        missing: Cases without a prediction.
        extra: Cases without a reference.
    """

    pairs: tuple[Pair, ...]
    missing: tuple[str, ...]
    extra: tuple[str, ...]


def pair_cases(predictions: Path, references: Path, *, allow_missing: bool = False) -> Pairing:
    """Pair the NIfTI files of two folders by name, and compare their grids.

    Only headers are read.

    Args:
        predictions: Folder of label maps `CASE.nii.gz` or `CASE.nii`.
        references: Folder of label maps of the same names.
        allow_missing: Leave out cases that are in one folder only, instead of refusing them.

    Raises:
        UserError: Lists every problem: cases without a partner, unreadable headers, and grids that differ in
            shape, spacing, origin or direction, with both values.
    """
    found, expected = _files(predictions), _files(references)
    missing, extra = sorted(expected.keys() - found.keys()), sorted(found.keys() - expected.keys())
    pairs = tuple(Pair(case, expected[case], found[case]) for case in sorted(expected.keys() & found.keys()))
    if not pairs:
        raise UserError(f"no case is in both {predictions} and {references}: their files are named differently.")
    problems = [] if allow_missing else [*_unpaired(missing, predictions), *_unpaired(extra, references)]
    unpaired = bool(problems)
    hint = " If missing cases are allowed, those without a partner are left out." if unpaired else ""
    problems += [problem for pair in pairs for problem in _differences(pair)]
    if problems:
        raise UserError(
            listed(problems, f"{predictions} cannot be evaluated against {references}.{hint}"),
            option="allow_missing" if unpaired else (),
        )
    return Pairing(pairs, tuple(missing), tuple(extra))


def listed(problems: Iterable[str], sentence: str) -> str:
    """A sentence with a list of problems below it."""
    lines = [f"\n  - {problem}" for problem in problems]
    more = f"\n  - and {len(lines) - SHOWN} more." if len(lines) > SHOWN else ""
    return sentence + "".join(lines[:SHOWN]) + more


def _files(folder: Path) -> dict[str, Path]:
    if not folder.is_dir():
        raise UserError(f"{folder} is not a folder.")
    files: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        ending = next((ending for ending in ENDINGS if path.name.endswith(ending)), None)
        if ending is None or path.name.startswith("."):
            continue
        case = path.name.removesuffix(ending)
        if case in files:
            raise UserError(f"{folder} contains {case} twice: {files[case].name} and {path.name}.")
        files[case] = path
    if not files:
        raise UserError(f"{folder} contains no NIfTI file ({' or '.join(ENDINGS)}).")
    return files


def _unpaired(cases: list[str], folder: Path) -> Iterator[str]:
    if cases:
        named = ", ".join(cases[:SHOWN]) + (f" and {len(cases) - SHOWN} more" if len(cases) > SHOWN else "")
        yield f"{folder} lacks {len(cases)} case{'s' if len(cases) > 1 else ''}: {named}."


def _differences(pair: Pair) -> Iterator[str]:
    try:
        prediction, reference = _properties(pair.prediction), _properties(pair.reference)
    except UserError as error:
        yield str(error)
        return
    for name, (value, allowed) in prediction.items():
        if np.abs(value - reference[name][0]).max() > allowed:
            yield (
                f"{pair.case}: the {name} of {pair.prediction} is {_shown(value)}, "
                f"that of {pair.reference} {_shown(reference[name][0])}."
            )


def _properties(label_map: Path) -> dict[str, tuple[NDArray[np.float64], float]]:
    """Values of a file's grid, and by how much two files of one grid may differ in them."""
    grid = read_grid(label_map)
    if len(grid.shape) != 3:
        raise UserError(f"{label_map} has {len(grid.shape)} dimensions; a label map has 3.")
    small = 0.01 * grid.spacing.min()
    return {
        "shape": (np.asarray(grid.shape, np.float64), 0.0),
        "spacing": (grid.spacing, small / max(grid.shape)),
        "origin": (grid.affine[:3, 3], small),
        "direction": ((grid.affine[:3, :3] / grid.spacing).ravel(), 1e-3),
    }


def _shown(values: NDArray[np.float64]) -> str:
    return "(" + ", ".join(f"{value:.6g}" for value in values + 0.0) + ")"
