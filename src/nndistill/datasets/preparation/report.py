"""`report.json`: what a data set was prepared from, what the checks found, and how it is split into folds.

The next run starts from it: cases whose files have not changed since are not checked again.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ...errors import UserError
from ...files import read_json, update_json
from ..source import Case, Source
from .case_check import Finding, Rules
from .splits import Fold, patients_on_both_sides

REPORT = "report.json"

IMAGES = (".nii", ".nii.gz", ".nrrd", ".mha", ".mhd")
"""Endings of files that look like images."""

CHECK_VERSION = 2
"""Increase it whenever checks change, so that findings of older checks are not reused."""


@dataclass(frozen=True)
class Report:
    """The result of a preparation.

    Args:
        folder: The data set's folder.
        source: What was found.
        findings: The result of checking each case, by name.
        damage: Sentences on each case or folder that cannot be used.
        split: `patient`, `nnunet` or a file.
        folds: The folds; none if there are too few cases.
        made: Number of files that were made in the data set's folder.
        prepared: Whether the data set is complete.
    """

    folder: Path
    source: Source
    findings: Mapping[str, Finding]
    damage: Mapping[str, Sequence[str]]
    split: str
    folds: Sequence[Fold] = ()
    made: int = 0
    prepared: bool = False

    @property
    def unused(self) -> list[str]:
        """Images next to those of the cases that belong to no case."""
        used = {path.absolute() for case in self.source.cases for path in case.files}
        folders = {path.parent for path in used}
        return sorted(
            str(path)
            for folder in folders
            if folder.is_dir()
            for path in folder.iterdir()
            if path not in used and path.name.lower().endswith(IMAGES) and not path.name.startswith(".")
        )

    @property
    def path(self) -> Path:
        """The file of the report."""
        return self.folder / REPORT

    @property
    def remarks(self) -> dict[str, list[str]]:
        """What is worth knowing about the cases that are used, by name."""
        return {case.name: found for case in self._used if (found := self.findings[case.name].remarks)}

    def summary(self) -> dict[str, Any]:
        """Summarise the report in numbers."""
        unused = self.unused
        training = [case for case in self._used if case.label]
        found = [self.findings[case.name] for case in training]
        patients = {case.name: case.patient for case in training}
        return {
            "data set": self.folder.name,
            "prepared": self.prepared,
            "training cases": len(training),
            "patients": len(set(patients.values())),
            "test cases": len(self._used) - len(training),
            "damaged": len(self.damage),
            **({"images not used": len(unused)} if unused else {}),
            "cases with label": {
                name: sum(value in finding.labels for finding in found)
                for name, value in self.source.labels.items()
                if value
            },
            "voxels": _range([finding.shape for finding in found]),
            "spacing in mm": _range([finding.spacing for finding in found]),
            "label volume kept": _range(
                [[f.label_ml[1] / f.label_ml[0]] for f in found if f.label_ml and f.label_ml[0]]
            ),
            "files made": self.made,
            "split": self.split,
            "folds": [{part: len(fold[part]) for part in ("train", "val")} for fold in self.folds],
            **(
                {"patients on both sides of a fold": patients_on_both_sides(self.folds, patients)} if self.folds else {}
            ),
        }

    def save(self) -> None:
        """Write the report, unless the file says the same already."""
        content = {
            "summary": self.summary(),
            "damage": self.damage,
            "remarks": self.remarks,
            "not_used": self.unused,
            "rules": _rules(Rules.of(self.source)),
            "cases": {
                case.name: {"patient": case.patient, **asdict(self.findings[case.name])} for case in self.source.cases
            },
        }
        update_json(self.path, content)

    @property
    def _used(self) -> list[Case]:
        return [case for case in self.source.cases if case.name not in self.damage]


def known_findings(path: Path, rules: Rules) -> dict[str, Finding]:
    """Read the findings of an earlier report, if there is one and it was made by the same rules."""
    try:
        content = read_json(path)
        if content["rules"] != _rules(rules):
            return {}
        return {
            name: Finding(**{key: value for key, value in case.items() if key != "patient"})
            for name, case in content["cases"].items()
            if "exact_labels" in case  # what version 0.1 found lacks it, and is looked for anew
        }
    except (UserError, KeyError, TypeError, AttributeError):
        return {}


def _rules(rules: Rules) -> Any:
    return json.loads(json.dumps({"edition": CHECK_VERSION, **asdict(rules)}))


def _range(values: Sequence[Sequence[float]]) -> dict[str, list[float]]:
    """Smallest and largest along each axis."""
    if not values:
        return {}
    columns = list(zip(*values, strict=True))
    return {"from": [min(c) for c in columns], "to": [max(c) for c in columns]}
