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
from typing import Any

import numpy as np
import pandas as pd

from ..datasets.nifti import read_volume
from ..errors import UserError
from ..files import read_json, write_file, write_json
from .case import EmptyPolicy, LabelMap, Measures, case_metrics
from .pairing import Pair, Pairing, listed, pair_cases
from .surfaces import Definition

COLUMNS = ("case", "label", "dice", "hd95_mm", "nsd", "reference_voxels", "predicted_voxels")
"""First columns of every `metrics.csv`, in this order; others may follow."""

MAKER = "nndistill evaluate"


@dataclass(frozen=True)
class Evaluation:
    """What an evaluation found.

    Args:
        metrics: One row a case and label, with the columns `COLUMNS` and those of `case_metrics`.
        summary: Means, counts, settings and versions as plain values.
    """

    metrics: pd.DataFrame
    summary: dict[str, Any]


class EvaluationIncomplete(UserError):
    """Some cases could not be evaluated; the others are in `evaluation`.

    Args:
        sentence: What is wrong with which case.
        evaluation: Of the other cases, or None where there is none.
    """

    def __init__(self, sentence: str, evaluation: Evaluation | None) -> None:
        super().__init__(sentence)
        self.evaluation = evaluation


def evaluate_folder(
    predictions: Path,
    references: Path,
    *,
    labels: Mapping[str, Sequence[int]],
    tolerance: float = 1.0,
    definition: Definition = "surface_elements",
    empty: EmptyPolicy = "diagonal",
    lesions: Collection[str] = (),
    ignore: int | None = None,
    jobs: int = 1,
    allow_missing: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> Evaluation:
    """Compare the label maps of two folders, case by case.

    Args:
        predictions: Folder of NIfTI label maps, `CASE.nii.gz` or `CASE.nii`.
        references: Folder of label maps of the same names.
        labels: Values in the label maps, by the name of the class or region: see `labels_of`.
        tolerance: Of NSD, in mm.
        definition: Of the surfaces: see `surface_distances`.
        empty: HD95 where just one of the masks is empty: the image's `"diagonal"`, a number of mm, or `"leave_out"`.
        lesions: Names of the labels whose lesions are counted too.
        ignore: A value in the references whose voxels do not count.
        jobs: Processes to share the cases among.
        allow_missing: Leave out cases that are only in one folder, instead of refusing.
        progress: Called with the number of finished cases and of all.

    Raises:
        UserError: Before anything is computed: all that is wrong with the cases' names and headers.
        EvaluationIncomplete: Afterwards: voxels of some cases could not be read. It holds the evaluation of the others.
    """
    measures = Measures(
        labels={name: tuple(values) for name, values in labels.items()},
        tolerance=tolerance,
        definition=definition,
        empty=empty,
        lesions=tuple(lesions),
        ignore=ignore,
    )
    pairing = pair_cases(predictions, references, allow_missing=allow_missing)
    outcomes = []
    for outcome in _outcomes(pairing.pairs, measures, jobs):
        outcomes.append(outcome)
        if progress is not None:
            progress(len(outcomes), len(pairing.pairs))
    measured = [outcome for outcome in outcomes if isinstance(outcome, _Measured)]
    evaluation = _evaluation(measured, pairing, measures) if measured else None
    failures = [outcome for outcome in outcomes if isinstance(outcome, str)]
    if failures or evaluation is None:
        kept = f" The other {len(measured)} are evaluated." if measured else ""
        raise EvaluationIncomplete(
            listed(failures, f"{len(failures)} of {len(outcomes)} cases cannot be evaluated.{kept}"), evaluation
        )
    return evaluation


def labels_of(dataset_json: Mapping[str, Any], *, regions: bool = False) -> dict[str, tuple[int, ...]]:
    """What nnU-Net's `dataset.json` says is to be segmented: values by name, without background.

    Args:
        dataset_json: Its content.
        regions: The regions, such as a whole tumour of several values; otherwise each value is a class of its own,
            and one that has no name of its own is called `label 1`.

    Raises:
        UserError: It has no labels, or no regions.
    """
    named = {name: _values(value) for name, value in _labels(dataset_json).items() if name != "ignore"}
    named = {name: values for name, values in named.items() if values != (0,)}
    if not named:
        raise UserError("dataset.json names no label but the background.")
    has_regions = any(len(values) > 1 for values in named.values())
    if regions and not has_regions:
        raise UserError("dataset.json defines no regions: every label is one value. Leave out --regions.")
    if regions or not has_regions:
        return named
    own = {values[0]: name for name, values in named.items() if len(values) == 1}
    present = sorted({value for values in named.values() for value in values if value != 0})
    return {own.get(value, f"label {value}"): (value,) for value in present}


def find_dataset_json(predictions: Path, references: Path) -> Path:
    """The `dataset.json` beside the references, in the folder above them, or with the predictions.

    Raises:
        UserError: There is none.
    """
    places = [folder / "dataset.json" for folder in (references, references.resolve().parent, predictions)]
    found = next((place for place in places if place.is_file()), None)
    if found is None:
        raise UserError(f"there is no dataset.json in {references}, above it or in {predictions}: give --dataset-json.")
    return found


def ignored_value(dataset_json: Mapping[str, Any]) -> int | None:
    """The value of nnU-Net's ignore label, whose voxels are not annotated; None where there is none."""
    value = _labels(dataset_json).get("ignore")
    return None if value is None else _values(value)[0]


def write_evaluation(evaluation: Evaluation, out: Path) -> None:
    """Write the metrics as CSV, and the summary beside them: `metrics.csv` and `summary.json`.

    Another name than `metrics.csv` has a summary of its own: `dcd.csv` and `dcd.summary.json`.

    Raises:
        UserError: The summary's place is taken by a file of another maker, such as nnU-Net, or cannot be written.
    """
    check_place(out)
    write_file(out, evaluation.metrics.to_csv(index=False).encode())
    write_json(summary_path(out), evaluation.summary)


def summary_path(metrics: Path) -> Path:
    """Where the summary of a file of metrics is."""
    return metrics.with_name("summary.json" if metrics.stem == "metrics" else f"{metrics.stem}.summary.json")


def different_settings(files: Sequence[Path]) -> list[str]:
    """What files of metrics were measured differently, by their summaries: a sentence a setting."""
    summaries = {path: read_json(summary_path(path)) for path in files if summary_path(path).is_file()}
    sentences = []
    for key in ("definition", "tolerance_mm", "empty", "ignored_value"):
        values = {str(path): summary[key] for path, summary in summaries.items() if key in summary}
        if len({str(value) for value in values.values()}) > 1:
            listing = ", ".join(f"{value} in {path}" for path, value in values.items())
            sentences.append(f"The files were measured differently: {key} is {listing}.")
    return sentences


def check_place(out: Path) -> None:
    """Refuse a place that is no file, or where writing would destroy a summary that is not ours.

    Raises:
        UserError: It is such a place.
    """
    if out.is_dir():
        raise UserError(f"{out} is a folder: name a file in it, such as {out / 'metrics.csv'}.")
    summary = summary_path(out)
    if summary.exists() and read_json(summary).get("maker") != MAKER:
        raise UserError(f"{summary} was not made by nndistill evaluate: choose another folder for {out.name}.")


def read_metrics(path: Path) -> pd.DataFrame:
    """Read a file of metrics, as `write_evaluation` writes it.

    Raises:
        UserError: It is missing, no CSV, or its columns or values are not those of metrics.
    """
    try:
        metrics = pd.read_csv(path, dtype={"case": str, "label": str}, keep_default_na=False, na_values=[""])
    except FileNotFoundError:
        raise UserError(f"{path} is missing.") from None
    except (OSError, UnicodeDecodeError, ValueError) as error:  # pandas' own errors are ValueErrors
        raise UserError(f"{path} cannot be read as CSV: {str(error).strip()}.") from error
    lacking = [column for column in COLUMNS if column not in metrics]
    if lacking:
        raise UserError(f"{path} is no file of metrics: it has no column {', '.join(lacking)}.")
    if metrics.empty or metrics[["case", "label"]].isna().any(axis=None):
        raise UserError(f"{path} has no rows, or rows without a case or label.")
    for column in COLUMNS[2:]:
        if not pd.api.types.is_numeric_dtype(metrics[column]):
            raise UserError(f"{path} has something else than numbers in its column {column}.")
    twice = metrics[metrics.duplicated(["case", "label"])]
    if len(twice):
        raise UserError(f"{path} has {twice['case'].iloc[0]}, {twice['label'].iloc[0]} twice.")
    return metrics


@dataclass(frozen=True)
class _Measured:
    """Rows of one case, and the values in its two label maps that belong to no label."""

    rows: list[dict[str, Any]]
    other_values: dict[str, list[int]]


def _outcomes(pairs: Sequence[Pair], measures: Measures, jobs: int) -> Iterator[_Measured | str]:
    """For each case its metrics, or the sentence that says why there are none."""
    measure = partial(_evaluate_pair, measures=measures)
    if jobs == 1 or len(pairs) == 1:
        yield from map(measure, pairs)
        return
    # Spawned, since a fork copies locks that threads of the parent may hold, such as those of a progress bar.
    with ProcessPoolExecutor(min(jobs, len(pairs)), mp_context=multiprocessing.get_context("spawn")) as pool:
        futures = [pool.submit(measure, pair) for pair in pairs]
        for pair, future in zip(pairs, futures, strict=True):
            try:
                yield future.result()
            except BrokenProcessPool:
                yield f"{pair.case}: its process was killed, probably for want of memory; try fewer --jobs."


def _evaluate_pair(pair: Pair, measures: Measures) -> _Measured | str:
    try:
        reference, prediction = read_volume(pair.reference), read_volume(pair.prediction)
        maps = _whole_numbers(reference.array, pair.reference), _whole_numbers(prediction.array, pair.prediction)
    except UserError as error:
        return str(error)
    metrics = case_metrics(*maps, reference.grid.spacing.tolist(), measures)
    known = [0, *(value for values in measures.labels.values() for value in values)]
    known += [] if measures.ignore is None else [measures.ignore]
    return _Measured(
        rows=[{"case": pair.case, "label": label, **values} for label, values in metrics.items()],
        other_values={
            role: np.unique(labels[~np.isin(labels, known)]).tolist()
            for role, labels in zip(("reference", "prediction"), maps, strict=True)
        },
    )


def _whole_numbers(array: LabelMap, path: Path) -> LabelMap:
    """Labels as integers, also where a file keeps them as floating-point numbers."""
    if array.dtype.kind in "iub":
        return array
    with np.errstate(invalid="ignore"):  # NaN
        whole = array.astype(np.int32)
    if not np.array_equal(whole, array):
        raise UserError(f"{path} holds other values than whole numbers: it is no label map.")
    return whole


def _evaluation(measured: Sequence[_Measured], pairing: Pairing, measures: Measures) -> Evaluation:
    metrics = pd.DataFrame([row for case in measured for row in case.rows])
    metrics = metrics[[*COLUMNS, *(column for column in metrics if column not in COLUMNS)]]
    other_values = {
        f"in_{role}s": sorted({value for case in measured for value in case.other_values[role]})
        for role in ("reference", "prediction")
    }
    return Evaluation(metrics, _summary(metrics, pairing, measures) | {"other_values": other_values})


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
    by_case = metrics.groupby("case", sort=False)[[*always, *of_lesions]].mean()
    return {
        "maker": MAKER,
        "tolerance_mm": measures.tolerance,
        "definition": measures.definition,
        "empty": measures.empty,
        "values": {name: list(values) for name, values in measures.labels.items()},
        "ignored_value": measures.ignore,
        "lesions": list(measures.lesions),
        "cases": len(by_case),
        "without_prediction": list(pairing.missing),
        "without_reference": list(pairing.extra),
        "labels": labels,
        "mean_over_labels": {str(column): _statistics(by_case[column]) for column in by_case},
        "versions": {"python": platform.python_version()}
        | {package: version(package) for package in ("nndistill", "numpy", "scipy", "nibabel")},
    }


def _statistics(values: pd.Series[float]) -> dict[str, float | int | None]:
    """Mean and its standard error over the cases that have a value; None instead of NaN, which JSON has not."""
    n = int(values.count())
    return {
        "mean": float(values.mean()) if n else None,
        "sem": float(values.std(ddof=1) / np.sqrt(n)) if n > 1 else None,
        "n": n,
        "left_out": int(values.isna().sum()),
    }


def _labels(dataset_json: Mapping[str, Any]) -> Mapping[str, Any]:
    labels = dataset_json.get("labels")
    if not isinstance(labels, Mapping) or not labels:
        raise UserError("dataset.json has no labels.")
    return labels


def _values(value: Any) -> tuple[int, ...]:
    values = tuple(value) if isinstance(value, (list, tuple)) else (value,)
    if not values or not all(isinstance(v, int) for v in values):
        raise UserError(f"dataset.json has a label that is no whole number, nor a list of such: {value}.")
    return values
