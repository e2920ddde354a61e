"""Which prediction belongs to which reference, and whether both are on one grid: checked before any is measured."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..errors import UserError
from ..volumes.grid import Grid, check_right_angles, is_same_grid
from ..volumes.nifti_header import NiftiHeader, read_nifti_header

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
        remarks: Sentences on files of the two folders that look like label maps and are not used.
    """

    pairs: tuple[Pair, ...]
    missing: tuple[str, ...]
    extra: tuple[str, ...]
    remarks: tuple[str, ...] = ()


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
    (found, unused), (expected, others) = _files(predictions), _files(references)
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
    return Pairing(pairs, tuple(missing), tuple(extra), (*unused, *others))


def listed(problems: Iterable[str], sentence: str) -> str:
    """A sentence with a list of problems below it."""
    lines = [f"\n  - {problem}" for problem in problems]
    more = f"\n  - and {len(lines) - SHOWN} more." if len(lines) > SHOWN else ""
    return sentence + "".join(lines[:SHOWN]) + more


def _files(folder: Path) -> tuple[dict[str, Path], list[str]]:
    """The label maps of a folder by case, and a sentence on each file that looks like one and is not used."""
    if not folder.is_dir():
        raise UserError(f"{folder} is not a folder.")
    files: dict[str, Path] = {}
    unused: list[str] = []
    for path in sorted(folder.iterdir()):
        ending = next((ending for ending in ENDINGS if path.name.endswith(ending)), None)
        if path.name.startswith("."):
            continue
        if ending is None:
            if _LABEL_MAP.search(path.name):
                unused.append(f"{path} is not used, since its name does not end in {' or '.join(ENDINGS)}.")
            continue
        case = path.name.removesuffix(ending)
        if case in files:
            raise UserError(f"{folder} contains {case} twice: {files[case].name} and {path.name}.")
        files[case] = path
    if not files:
        raise UserError(" ".join([f"{folder} contains no NIfTI file ({' or '.join(ENDINGS)}).", *unused[:1]]))
    return files, unused


_LABEL_MAP = re.compile(r"\.(nii|nii\.gz|nrrd|mha|mhd|hdr|img|gipl)$", re.IGNORECASE)


def _unpaired(cases: list[str], folder: Path) -> Iterator[str]:
    if cases:
        named = ", ".join(cases[:SHOWN]) + (f" and {len(cases) - SHOWN} more" if len(cases) > SHOWN else "")
        yield f"{folder} lacks {len(cases)} case{'s' if len(cases) > 1 else ''}: {named}."


def _differences(pair: Pair) -> Iterator[str]:
    try:
        prediction, reference = (_header(path) for path in (pair.prediction, pair.reference))
    except UserError as error:
        yield str(error)
        return
    if is_same_grid(prediction.grid, reference.grid):
        return
    forms = "".join(f" {header.remark}" for header in (prediction, reference) if header.remark)
    expected, rounding = _properties(reference.grid), 1e-6 * reference.grid.spacing.min()
    for name, value in _properties(prediction.grid).items():
        if not np.allclose(value, expected[name], rtol=1e-6, atol=rounding):
            yield (
                f"{pair.case}: the {name} of {pair.prediction} is {_shown(value)}, "
                f"that of {pair.reference} {_shown(expected[name])}.{forms}"
            )
            if name == "shape":
                return


def _header(label_map: Path) -> NiftiHeader:
    header = read_nifti_header(label_map)
    if len(header.grid.shape) != 3:
        raise UserError(f"{label_map} has {len(header.grid.shape)} dimensions; a label map has 3.")
    check_right_angles(header.grid)
    return header


def _properties(grid: Grid) -> dict[str, NDArray[np.float64]]:
    return {
        "shape": np.asarray(grid.shape, np.float64),
        "spacing": grid.spacing,
        "origin": grid.affine[:3, 3],
        "direction": (grid.affine[:3, :3] / grid.spacing).ravel(),
    }


def _shown(values: NDArray[np.float64]) -> str:
    return "(" + ", ".join(f"{value:.6g}" for value in values + 0.0) + ")"
