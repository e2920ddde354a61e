"""Check a whole data set in nnU-Net's raw format before hours are spent on it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from ..errors import UserError
from ..files import read_json
from ..nnunet.data.raw_cases import raw_cases
from .preparation.case_check import Rules, names_by_value, unfit_content
from .preparation.checking import check_cases
from .preparation.report import REPORT, known_findings


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
    cases = raw_cases(folder)
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
