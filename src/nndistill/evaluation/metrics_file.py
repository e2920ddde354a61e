"""Metrics and summary of an evaluation, and the two files in which they are kept."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import inf
from pathlib import Path
from typing import Any

import pandas as pd

from ..errors import UserError
from ..files import check_writable, read_json, write_file, write_json
from . import protocols

COLUMNS = ("case", "label", "dice", "hd95_mm", "nsd", "reference_voxels", "predicted_voxels")
"""The first columns of every `metrics.csv`, in this order; others may follow."""

MAKER = "nndistill evaluate"

UNDEFINED = ["", "nan", "NaN", "NAN", "NA", "N/A", "n/a", "null", "None"]
"""How programs write a value that is not defined."""


@dataclass(frozen=True)
class Evaluation:
    """What an evaluation found.

    Args:
        metrics: One row per case and label, with the columns `COLUMNS` and the others of `case_metrics`.
        summary: Means, counts, settings and versions as plain values.
    """

    metrics: pd.DataFrame
    summary: dict[str, Any]


def write_evaluation(evaluation: Evaluation, out: Path) -> None:
    """Write the metrics as CSV and the summary next to them: `metrics.csv` and `summary.json`.

    Under another name, the summary is named after the metrics: `dcd.csv` and `dcd.summary.json`.

    Raises:
        UserError: There is a `summary.json` of another program, such as nnU-Net, or the files cannot be written.
    """
    _check_what_is_there(out)
    write_file(out, evaluation.metrics.to_csv(index=False).encode())
    write_json(summary_path(out), evaluation.summary)


def summary_path(metrics: Path) -> Path:
    """The path of the summary that belongs to a file of metrics."""
    return metrics.with_name("summary.json" if metrics.stem == "metrics" else f"{metrics.stem}.summary.json")


def different_settings(files: Sequence[Path]) -> list[str]:
    """The settings in which files of metrics differ according to their summaries, one sentence per setting."""
    settings: dict[str, dict[Path, str]] = {}
    for path in files:
        if summary_path(path).is_file():
            for key, value in _settings(read_json(summary_path(path))).items():
                settings.setdefault(key, {})[path] = str(value)
    sentences = []
    for key, values in settings.items():
        if len(set(values.values())) > 1:
            listing = ", ".join(f"{value} in {path}" for path, value in values.items())
            sentences.append(f"The files were measured differently: {key} is {listing}.")
    return sentences


def _settings(summary: Mapping[str, Any]) -> dict[str, Any]:
    """The settings that a summary records, the values of each label among them."""
    keys = ("definition", "tolerance_mm", "empty", "both_empty", "ignored_value")
    labels = {f"the label {name}": sorted(values) for name, values in summary.get("values", {}).items()}
    return {key: summary[key] for key in keys if key in summary} | labels


def common_protocol(files: Sequence[Path], *, protocol: str | None = None) -> str:
    """The protocol by which all files of metrics were measured, according to their summaries.

    Args:
        files: Files of metrics; those without a summary are taken to agree with the others.
        protocol: The protocol that they have to have; then each needs a summary.

    Raises:
        UserError: The protocols differ, or are not the one that is asked for.
    """
    summaries = {path: read_json(summary_path(path)) for path in files if summary_path(path).is_file()}
    found = {path: str(summary.get("protocol", "default")) for path, summary in summaries.items()}
    if protocol is not None:
        protocols.protocol(protocol)
        if lacking := [path for path in files if path not in found]:
            raise UserError(f"{lacking[0]} has no summary, so its protocol is not known.", option="protocol")
        if other := next((path for path, name in found.items() if name != protocol), None):
            raise UserError(f"{other} was measured by the protocol {found[other]}, not {protocol}.", option="protocol")
    if len(set(found.values())) > 1:
        listing = ", ".join(f"{name} in {path}" for path, name in found.items())
        raise UserError(f"the files were measured by different protocols, {listing}: measure all by one of them.")
    return next(iter(found.values()), "default")


def check_place(out: Path) -> None:
    """Refuse a path where `write_evaluation` cannot write, before anything is measured. Nothing is left there.

    Raises:
        UserError: The path is a folder or cannot be written, or there is a summary of another program.
    """
    check_writable(out, option="out")
    _check_what_is_there(out)


def _check_what_is_there(out: Path) -> None:
    if out.is_dir():
        raise UserError(f"{out} is a folder: name a file in it, such as {out / 'metrics.csv'}.", option="out")
    summary = summary_path(out)
    if summary.exists() and read_json(summary).get("maker") != MAKER:
        raise UserError(
            f"{summary} was not made by nndistill evaluate: choose another folder for {out.name}.", option="out"
        )


def read_metrics(path: Path) -> pd.DataFrame:
    """Read a file of metrics that `write_evaluation` has written.

    Raises:
        UserError: It is missing, not CSV, or its columns or values are not those of metrics.
    """
    try:
        names = {"case": str, "label": str, "patient": str}
        undefined = {column: UNDEFINED if column not in names else [""] for column in _header(path)}
        metrics = pd.read_csv(path, dtype=names, keep_default_na=False, na_values=undefined)
    except FileNotFoundError:
        raise UserError(f"{path} is missing.") from None
    except (OSError, UnicodeDecodeError, ValueError) as error:  # pandas' own errors are ValueErrors
        raise UserError(f"{path} cannot be read as CSV: {str(error).strip()}.") from error
    lacking = [column for column in COLUMNS if column not in metrics]
    if lacking and ";" in str(metrics.columns[0]):
        raise UserError(f"{path} has semicolons between its columns: save it with commas, and with points in numbers.")
    if lacking:
        raise UserError(f"{path} is not a file of metrics: it has no column {', '.join(lacking)}.")
    if metrics.empty or metrics[["case", "label"]].isna().any(axis=None):
        raise UserError(f"{path} has no rows, or rows without a case or label.")
    for column in COLUMNS[2:]:
        if not pd.api.types.is_numeric_dtype(metrics[column]):
            raise UserError(f"{path} has something other than numbers in its column {column}.")
        low, high = _RANGES[column]
        if (wrong := metrics[(metrics[column] < low) | (metrics[column] > high + 1e-9)]).size:
            raise UserError(f"{path} has {_cell(wrong, column)}, which is not between {low:g} and {high:g}.")
    for column in COLUMNS[5:]:
        if (wrong := metrics[metrics[column].isna()]).size:
            raise UserError(
                f"{path} has {_cell(wrong, column)}, though voxels can be counted in any case: is it cut short?"
            )
    twice = metrics[metrics.duplicated(["case", "label"])]
    if len(twice):
        raise UserError(f"{path} has {twice['case'].iloc[0]}, {twice['label'].iloc[0]} twice.")
    return metrics


_RANGES = {
    "dice": (0, 1),
    "hd95_mm": (0, inf),
    "nsd": (0, 1),
    "reference_voxels": (0, inf),
    "predicted_voxels": (0, inf),
}
"""What each metric can be, up to rounding."""


def _cell(rows: pd.DataFrame, column: str) -> str:
    """The first of some rows' values in a column, and where it is."""
    row = rows.iloc[0]
    value = "no value" if pd.isna(row[column]) else f"the value {row[column]:g}"
    return f"{value} of {column} for {row['case']}, {row['label']}"


def _header(path: Path) -> list[str]:
    return list(pd.read_csv(path, nrows=0).columns)
