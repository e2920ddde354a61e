"""Check a whole data set in nnU-Net's raw format before hours are spent on it."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..errors import UserError
from ..files import read_json
from .case_check import Rules, names_by_value, unfit_content
from .checking import check_cases
from .report import REPORT, known_findings
from .source import Case


def check_raw_dataset(folder: Path, *, progress: Callable[[int, int], None] | None = None) -> None:
    """Read every training case and refuse the first that is not as it should be.

    Checked are NIfTI files, other types are left to nnU-Net: all channels and labels are there, can be read, lie on
    one grid, hold finite numbers, and labels that `dataset.json` names. Files that `nndistill prepare` has checked and
    that have not changed since are not read again.

    Args:
        folder: `DatasetXXX_Name`.
        progress: Called with the number of checked cases and of all.

    Raises:
        UserError: One sentence that names the file and what is wrong with it.
    """
    description = read_json(folder / "dataset.json")
    for key in ("channel_names", "labels", "numTraining", "file_ending"):
        if key not in description:
            raise UserError(f"{folder / 'dataset.json'} has no {key!r}, which nnU-Net needs.")
    if description["file_ending"] not in {".nii", ".nii.gz"}:
        return
    cases = _cases(folder, description)
    if len(cases) != description["numTraining"]:
        raise UserError(
            f"{folder / 'dataset.json'} promises {description['numTraining']} training cases, but there are "
            f"{len(cases)}."
        )
    rules = Rules(channels=tuple(description["channel_names"].values()))
    values = names_by_value(description["labels"])
    findings = check_cases(cases, rules, known=known_findings(folder / REPORT, rules), progress=progress)
    for case in cases:
        found = replace(findings[case.name], empty=[])  # some fill a missing channel with zeros
        for sentence in found.damage + unfit_content(case, found, values, empty_labels=True):
            raise UserError(sentence)


def _cases(folder: Path, description: dict[str, Any]) -> list[Case]:
    """Training cases, by the entry `dataset` where there is one, as nnU-Net reads it, else by their labels' files."""
    if "dataset" in description:
        return [
            Case(name, name, tuple(_path(folder, image) for image in files["images"]), _path(folder, files["label"]))
            for name, files in description["dataset"].items()
        ]
    ending = description["file_ending"]
    names = [path.name.removesuffix(ending) for path in sorted((folder / "labelsTr").glob(f"*{ending}"))]
    channels = range(len(description["channel_names"]))
    images, labels = folder / "imagesTr", folder / "labelsTr"
    return [
        Case(name, name, tuple(images / f"{name}_{c:04d}{ending}" for c in channels), labels / f"{name}{ending}")
        for name in names
    ]


def _path(folder: Path, listed: str) -> Path:
    return folder / os.path.expandvars(listed)
