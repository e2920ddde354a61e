"""Calibration of a folder of probabilities against a folder of references, and the two files that hold it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ..errors import UserError
from ..files import read_json, write_file, write_json
from ..volumes.bounding_box import bounding_box
from ..volumes.label_values import whole_numbers
from ..volumes.nifti import read_volume
from .calibration import BINS, Calibration
from .dataset_labels import defines_regions, ignored_value, label_values
from .folder import each_pair
from .metrics_file import MAKER
from .pairing import Pair, listed
from .probability_maps import Probabilities, find_probabilities, read_probabilities

ANY_LABEL = "any label"
"""The name under which all labels together are measured: one minus the background's probability."""

Scope = Literal["image", "foreground"]
SCOPES: tuple[Scope, ...] = get_args(Scope)

COLUMNS = ("case", "label", "scope", "voxels", "ece", "brier")


@dataclass(frozen=True)
class Outputs:
    """What the outputs of a network mean, according to `dataset.json`.

    Attributes:
        values: Of each label or region, by name.
        place: Of its probabilities among the outputs, by name.
        count: Of outputs.
        are_regions: Whether they are regions, each with a probability of its own.
        ignore: A value in the references whose voxels do not count.
    """

    values: Mapping[str, tuple[int, ...]]
    place: Mapping[str, int]
    count: int
    are_regions: bool
    ignore: int | None

    @classmethod
    def of(cls, dataset_json: Mapping[str, Any]) -> Outputs:
        """As nnU-Net orders them: regions as they are written down, labels by their values after the background.

        Raises:
            UserError: There are no labels.

        Example:
            >>> Outputs.of({"labels": {"background": 0, "core": 2, "rim": 1}}).place
            {'rim': 1, 'core': 2}
            >>> Outputs.of({"labels": {"background": 0, "whole": [1, 2], "core": 2}}).place
            {'whole': 0, 'core': 1}
        """
        regions = defines_regions(dataset_json)
        values = label_values(dataset_json, regions=regions)
        named = list(values) if regions else sorted(values, key=lambda name: values[name])
        place = {name: number for number, name in enumerate(named, start=0 if regions else 1)}
        return cls(values, place, len(named) + (not regions), regions, ignored_value(dataset_json))


@dataclass(frozen=True)
class FolderCalibration:
    """What was found.

    Attributes:
        cases: One row per case, label and scope, with the columns `COLUMNS`.
        pooled: All voxels of all cases together, by label and scope.
    """

    cases: pd.DataFrame
    pooled: Mapping[str, Mapping[Scope, Calibration]]

    def summary(self) -> dict[str, Any]:
        """Means over cases, pooled values and bins, as plain values."""
        return {
            "maker": MAKER,
            "bins": BINS,
            "cases": int(self.cases["case"].nunique()),
            "labels": {
                label: {scope: self._of(label, scope, pooled) for scope, pooled in scopes.items()}
                for label, scopes in self.pooled.items()
            },
        }

    def _of(self, label: str, scope: Scope, pooled: Calibration) -> dict[str, Any]:
        rows = self.cases[(self.cases["label"] == label) & (self.cases["scope"] == scope)]
        values = rows[["ece", "brier"]].astype(np.float64)
        return {
            **{f"{column}_mean": float(mean) for column, mean in values.mean().items()},
            **{f"{column}_sem": float(error) for column, error in values.sem().items()},
            "ece_pooled": pooled.expected_error,
            "brier_pooled": pooled.brier,
            "voxels": pooled.voxels.tolist(),
            "mean_probability": pooled.mean_probability.tolist(),
            "frequency": pooled.frequency.tolist(),
        }


def calibrate_folder(
    folder: Path,
    pairs: Sequence[Pair],
    dataset_json: Mapping[str, Any],
    *,
    jobs: int = 1,
    progress: Callable[[int, int], None] | None = None,
) -> FolderCalibration:
    """Measure the calibration of each case in a folder of probabilities.

    Each label or region is a question of its own: is a voxel in it? Two scopes are measured: all voxels, most of which
    are background and beyond doubt, and the box around everything that reference or prediction call foreground. A box
    and not the foreground itself, since choosing voxels by what is in them would distort how often a label is there.

    Args:
        folder: Holds `CASE.npz` and `CASE.pkl`, or `probabilities/CASE.nii.gz`.
        pairs: The cases, with their references.
        dataset_json: Names the outputs.
        jobs: Processes to share the cases among.
        progress: Called with the number of finished cases and of all cases.

    Raises:
        UserError: Probabilities are missing, or cannot be read or do not fit; the message lists all such cases.
    """
    outputs = Outputs.of(dataset_json)
    files = find_probabilities(folder, [pair.case for pair in pairs])
    found: dict[str, dict[str, dict[Scope, Calibration]]] = {}
    problems = []
    for done, (pair, outcome) in enumerate(
        zip(pairs, each_pair(partial(_calibrate, files=files, outputs=outputs), pairs, jobs), strict=True), start=1
    ):
        if isinstance(outcome, str):
            problems.append(outcome)
        else:
            found[pair.case] = outcome
        if progress is not None:
            progress(done, len(pairs))
    if problems:
        sentence = f"the calibration of {len(problems)} of {len(pairs)} cases cannot be measured."
        raise UserError(listed(problems, sentence), option="probabilities")
    labels = list(next(iter(found.values())))
    rows = [
        {
            "case": case,
            "label": label,
            "scope": scope,
            "voxels": int(calibration.voxels.sum()),
            "ece": calibration.expected_error,
            "brier": calibration.brier,
        }
        for case, by_label in found.items()
        for label, scopes in by_label.items()
        for scope, calibration in scopes.items()
    ]
    pooled = {
        label: {scope: Calibration.total(of_case[label][scope] for of_case in found.values()) for scope in SCOPES}
        for label in labels
    }
    return FolderCalibration(pd.DataFrame(rows, columns=list(COLUMNS)), pooled)


def write_calibration(calibration: FolderCalibration, metrics: Path) -> tuple[Path, Path]:
    """Write `calibration.csv` and `calibration.json` next to `metrics.csv`, or `dcd.calibration.csv` next to `dcd.csv`.

    Returns:
        The two paths.

    Raises:
        UserError: The files cannot be written.
    """
    table = calibration_path(metrics)
    write_json(table.with_suffix(".json"), calibration.summary())  # first: it says whose the two are, if a kill follows
    write_file(table, calibration.cases.to_csv(index=False).encode())
    return table, table.with_suffix(".json")


def calibration_path(metrics: Path) -> Path:
    """The table of calibration that belongs to a file of metrics.

    Raises:
        UserError: Another program's file is there.
    """
    table = metrics.with_name("calibration.csv" if metrics.stem == "metrics" else f"{metrics.stem}.calibration.csv")
    summary = table.with_suffix(".json")
    ours = summary.is_file() and read_json(summary).get("maker") == MAKER
    if other := next((file for file in (table, summary) if file.exists() and not ours), None):
        raise UserError(f"{other} was not made by nndistill evaluate: choose another folder.", option="out")
    return table


def _calibrate(pair: Pair, files: Mapping[str, Path], outputs: Outputs) -> dict[str, dict[Scope, Calibration]] | str:
    try:
        volume = read_volume(pair.reference)
        reference = whole_numbers(volume.array, pair.reference)
        probabilities = read_probabilities(files[pair.case], outputs=outputs.count, grid=volume.grid)
    except UserError as error:
        return str(error)
    return case_calibration(probabilities, reference, outputs)


def case_calibration(
    probabilities: Probabilities, reference: NDArray[Any], outputs: Outputs
) -> dict[str, dict[Scope, Calibration]]:
    """Calibration of one case by label and scope.

    Args:
        probabilities: `(outputs, X, Y, Z)`.
        reference: Label map `(X, Y, Z)`.
        outputs: What the outputs are.
    """
    masks = {name: np.isin(reference, values) for name, values in outputs.values.items()}
    predicted = (probabilities > 0.5).any(0) if outputs.are_regions else probabilities[1:].max(0) > probabilities[0]
    counted = np.ones(reference.shape, np.bool_) if outputs.ignore is None else reference != outputs.ignore
    box = bounding_box((np.any(list(masks.values()), axis=0) | predicted) & counted) or (slice(0, 0),) * reference.ndim
    maps = {name: (probabilities[outputs.place[name]], mask) for name, mask in masks.items()}
    if not outputs.are_regions and len(masks) > 1:
        maps[ANY_LABEL] = 1 - probabilities[0], np.any(list(masks.values()), axis=0)
    boxes: dict[Scope, Any] = {"image": ..., "foreground": box}
    return {
        name: {
            scope: Calibration.of(probability[place][counted[place]], mask[place][counted[place]])
            for scope, place in boxes.items()
        }
        for name, (probability, mask) in maps.items()
    }
