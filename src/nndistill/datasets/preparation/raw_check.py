"""Check a data set in nnU-Net's raw format before hours are spent on training."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from ...dataset_json import channel_names, check_raw_dataset_json
from ...errors import UserError
from ...files import read_json
from ...nnunet.data.raw_cases import raw_cases
from .case_check import Rules, check_label_values, names_by_value, unfit_content
from .dataset_check import check_cases
from .report import REPORT, known_findings


def check_raw_dataset(folder: Path, *, progress: Callable[[int, int], None] | None = None) -> None:
    """Read every training case and refuse the first that nnU-Net could not train on.

    All channels and labels have to exist, be readable, have one grid, and hold finite numbers and the labels that
    `dataset.json` names. Only NIfTI files are checked; other types are left to nnU-Net. Files that `nndistill prepare`
    has checked and that have not changed since are not read again.

    Args:
        folder: `DatasetXXX_Name`.
        progress: Called with the number of checked cases and of all.

    Raises:
        UserError: One sentence that names the file and what is wrong with it.

    Example:
        >>> from pathlib import Path
        >>> from tempfile import mkdtemp
        >>> from nndistill.datasets import check_raw_dataset, generate_phantom
        >>> small = {"shape": (32, 32, 32), "spacing": (5, 5, 5), "jobs": 1}
        >>> check_raw_dataset(generate_phantom(Path(mkdtemp()), cases=1, **small))  # raises nothing: all is well
    """
    description = read_json(folder / "dataset.json")
    check_raw_dataset_json(description, source=str(folder / "dataset.json"))
    if description["file_ending"] not in {".nii", ".nii.gz"}:
        return
    cases = raw_cases(folder)
    if len(cases) != description["numTraining"]:
        raise UserError(
            f"{folder / 'dataset.json'} promises {description['numTraining']} training cases, but there are "
            f"{len(cases)}."
        )
    rules = Rules(channels=tuple(channel_names(description)))
    values = names_by_value(description["labels"])
    check_label_values(values)
    findings = check_cases(cases, rules, known=known_findings(folder / REPORT, rules), progress=progress)
    for case in cases:
        found = replace(findings[case.name], empty=[])  # some people fill a missing channel with zeros
        for sentence in found.damage + unfit_content(case, found, values, empty_labels=True):
            raise UserError(sentence)
        if not found.exact_labels:
            raise UserError(
                f"{case.label} holds labels that are whole numbers up to rounding only, and nnU-Net cuts off decimals: "
                "save it as whole numbers without a scale."
            )
