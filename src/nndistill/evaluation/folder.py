"""Evaluate a folder of predictions against a folder of references."""

from __future__ import annotations

import multiprocessing
import platform
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pandas as pd

from ..errors import UserError
from ..files import digest
from ..volumes.label_values import whole_numbers
from ..volumes.nifti import read_volume
from . import protocols
from .aggregates import Mean, mean_of_cases, mean_of_labels
from .case import BothEmpty, EmptyPolicy, Measures, case_metrics
from .metrics_file import COLUMNS, MAKER, Evaluation
from .pairing import Pair, Pairing, listed, pair_cases
from .surfaces import Definition

Outcome = TypeVar("Outcome")


class EvaluationIncomplete(UserError):
    """Some cases could not be evaluated; the others are in `evaluation`.

    Args:
        sentence: What is wrong with which case.
        evaluation: The evaluation of the other cases; `None` if there are none.
    """

    def __init__(self, sentence: str, evaluation: Evaluation | None) -> None:
        super().__init__(sentence)
        self.evaluation = evaluation


def evaluate_folder(
    predictions: Path,
    references: Path,
    *,
    labels: Mapping[str, Sequence[int]],
    protocol: str = "default",
    tolerance: float | None = None,
    definition: Definition | None = None,
    empty: EmptyPolicy | None = None,
    both_empty: BothEmpty | None = None,
    lesions: Collection[str] = (),
    ignore: int | None = None,
    patients: Mapping[str, str] | None = None,
    jobs: int = 1,
    allow_missing: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> Evaluation:
    """Compare the label maps of two folders, case by case.

    Args:
        predictions: Folder of NIfTI label maps, `CASE.nii.gz` or `CASE.nii`.
        references: Folder of label maps of the same names.
        labels: Values in the label maps, by the name of the class or region: see `label_values`.
        protocol: Name of the protocol, which says how everything that is not given here is measured: see
            `nndistill.evaluation.protocols.PROTOCOLS`.
        tolerance: Tolerance of NSD in mm.
        definition: Definition of a surface: see `surface_distances`.
        empty: HD95 if only one of the masks is empty: the image's `"diagonal"`, a number of mm, or `"leave_out"`.
        both_empty: What counts if both masks are empty: `"leave_out"`: nothing; `"one"`: Dice 1, NSD 1 and HD95 0, the
            convention of BraTS; `"nsd_one"`: NSD 1 alone.
        lesions: Names of the labels whose lesions are counted as well.
        ignore: A value in the references whose voxels do not count.
        patients: The patient of each case, where known; with them the metrics have the column `patient`, by which
            `compare` recognises several examinations of one patient.
        jobs: Processes to share the cases among.
        allow_missing: Leave out cases that are in one folder only, instead of refusing them.
        progress: Called with the number of finished cases and of all cases.

    Raises:
        UserError: Names or headers of cases do not fit together; raised before anything is computed.
        EvaluationIncomplete: The voxels of some cases cannot be read; it holds the evaluation of the others.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> import nibabel as nib
        >>> cube = np.zeros((8, 8, 8), np.uint8)
        >>> cube[2:6, 2:6, 2:6] = 1
        >>> with TemporaryDirectory() as name:
        ...     folder = Path(name)
        ...     for role in ("predictions", "references"):
        ...         (folder / role).mkdir()
        ...         nib.save(nib.Nifti1Image(cube, np.eye(4)), folder / role / "case_1.nii.gz")
        ...     evaluation = evaluate_folder(folder / "predictions", folder / "references", labels={"tumour": [1]})
        >>> evaluation.metrics[["case", "label", "dice"]].to_dict(orient="records")
        [{'case': 'case_1', 'label': 'tumour', 'dice': 1.0}]
    """
    chosen = protocols.protocol(protocol).changed(
        tolerance=tolerance, definition=definition, empty=empty, both_empty=both_empty
    )
    measures = chosen.measures(labels, lesions=lesions, ignore=ignore)
    pairing = pair_cases(predictions, references, allow_missing=allow_missing)
    outcomes = []
    for outcome in each_pair(partial(_evaluate_pair, measures=measures), pairing.pairs, jobs):
        outcomes.append(outcome)
        if progress is not None:
            progress(len(outcomes), len(pairing.pairs))
    measured = [outcome for outcome in outcomes if isinstance(outcome, _Measured)]
    evaluation = _evaluation(measured, pairing, measures, patients or {}) if measured else None
    failures = [outcome for outcome in outcomes if isinstance(outcome, str)]
    if failures or evaluation is None:
        kept = f" The other {len(measured)} are evaluated." if measured else ""
        raise EvaluationIncomplete(
            listed(failures, f"{len(failures)} of {len(outcomes)} cases cannot be evaluated.{kept}"), evaluation
        )
    return evaluation


def recorded_settings(measures: Measures) -> dict[str, Any]:
    """The settings that decide what the values mean, as the summary records them."""
    return {
        "protocol": measures.protocol,
        "tolerance_mm": measures.tolerance,
        "definition": measures.definition,
        "empty": measures.empty,
        "both_empty": measures.both_empty,
        "values": {name: list(values) for name, values in measures.labels.items()},
        "ignored_value": measures.ignore,
    }


@dataclass(frozen=True)
class _Measured:
    """Rows of one case, the values in its two label maps that belong to no label, and the SHA-256 of the two files."""

    case: str
    rows: list[dict[str, Any]]
    other_values: dict[str, list[int]]
    digests: dict[str, str]


def each_pair(measure: Callable[[Pair], Outcome | str], pairs: Sequence[Pair], jobs: int) -> Iterator[Outcome | str]:
    """What is measured of each case, in order, or a sentence that says why it cannot be.

    Args:
        measure: What is done with a case; spawned processes import it.
        pairs: The cases.
        jobs: Processes to share them among.
    """
    if jobs == 1 or len(pairs) == 1:
        yield from map(measure, pairs)
        return
    # Spawned, because a fork copies locks that threads of the parent may hold, such as those of a progress bar.
    with ProcessPoolExecutor(min(jobs, len(pairs)), mp_context=multiprocessing.get_context("spawn")) as pool:
        futures = [pool.submit(measure, pair) for pair in pairs]
        for pair, future in zip(pairs, futures, strict=True):
            try:
                yield future.result()
            except BrokenProcessPool:
                yield f"{pair.case}: its process was killed, probably for lack of memory; try fewer jobs."


def _evaluate_pair(pair: Pair, measures: Measures) -> _Measured | str:
    try:
        # before the voxels are read: if a file is replaced in between, it does not pass for the one that was measured
        digests = {"reference": digest(pair.reference), "prediction": digest(pair.prediction)}
        reference, prediction = read_volume(pair.reference), read_volume(pair.prediction)
        maps = whole_numbers(reference.array, pair.reference), whole_numbers(prediction.array, pair.prediction)
    except UserError as error:
        return str(error)
    except OSError as error:
        return f"{pair.case}: {error.filename} cannot be read: {error.strerror}."
    metrics = case_metrics(*maps, reference.grid.spacing.tolist(), measures)
    known = [0, *(value for values in measures.labels.values() for value in values)]
    known += [] if measures.ignore is None else [measures.ignore]
    return _Measured(
        case=pair.case,
        rows=[{"case": pair.case, "label": label, **values} for label, values in metrics.items()],
        other_values={
            role: np.unique(labels[~np.isin(labels, known)]).tolist()
            for role, labels in zip(("reference", "prediction"), maps, strict=True)
        },
        digests=digests,
    )


def _evaluation(
    measured: Sequence[_Measured], pairing: Pairing, measures: Measures, patients: Mapping[str, str]
) -> Evaluation:
    metrics = pd.DataFrame([row for case in measured for row in case.rows])
    metrics = metrics[[*COLUMNS, *(column for column in metrics if column not in COLUMNS)]]
    if patients:
        metrics["patient"] = metrics["case"].map(dict(patients))
    other_values = {
        f"in_{role}s": sorted({value for case in measured for value in case.other_values[role]})
        for role in ("reference", "prediction")
    }
    digests = {case.case: case.digests for case in measured}
    return Evaluation(
        metrics, _summary(metrics, pairing, measures) | {"other_values": other_values, "digests": digests}
    )


def _summary(metrics: pd.DataFrame, pairing: Pairing, measures: Measures) -> dict[str, Any]:
    always, of_lesions = COLUMNS[2:5], [str(column) for column in metrics if str(column).startswith("lesion_")]
    absent = metrics["reference_voxels"] == 0, metrics["predicted_voxels"] == 0
    counts = pd.DataFrame(
        {
            "both_empty": absent[0] & absent[1],
            "reference_empty": absent[0] & ~absent[1],
            "prediction_empty": ~absent[0] & absent[1],
        }
    )
    labels: dict[str, dict[str, Any]] = {}
    for label in measures.labels:
        rows = metrics["label"] == label
        columns = [*always, *(of_lesions if label in measures.lesions else [])]
        labels[label] = {column: _statistics(metrics.loc[rows, column]) for column in columns}
        labels[label] |= {str(name): int(count) for name, count in counts[rows].sum().items()}
    return {
        "maker": MAKER,
        **recorded_settings(measures),
        "lesions": list(measures.lesions),
        "cases": int(metrics["case"].nunique()),
        "without_prediction": list(pairing.missing),
        "without_reference": list(pairing.extra),
        "not_used": list(pairing.remarks),
        "labels": labels,
        "mean_of_labels": {column: _aggregate(mean_of_labels(metrics, column)) for column in (*always, *of_lesions)},
        "mean_of_cases": {column: _aggregate(mean_of_cases(metrics, column)) for column in (*always, *of_lesions)},
        "versions": {"python": platform.python_version()}
        | {package: version(package) for package in ("nndistill", "numpy", "scipy", "nibabel")},
    }


def _statistics(values: pd.Series[float]) -> dict[str, float | int | None]:
    """Mean and its standard error over the cases that have a value; `None` for NaN, which JSON does not have."""
    n = int(values.count())
    return {
        "mean": float(values.mean()) if n else None,
        "sem": float(values.std(ddof=1) / np.sqrt(n)) if n > 1 else None,
        "n": n,
        "left_out": int(values.isna().sum()),
    }


def _aggregate(mean: Mean) -> dict[str, Any]:
    """The same for a mean over cases and labels: `n` cases have a value, `left_out` values of case and label do not."""
    return {
        "mean": mean.value if np.isfinite(mean.value) else None,
        "sem": mean.error if np.isfinite(mean.error) else None,
        "n": mean.cases,
        "left_out": mean.undefined,
        "empty_labels": list(mean.empty_labels),
    }
