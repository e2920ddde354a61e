"""`nndistill evaluate`."""

from __future__ import annotations

import os
from collections.abc import Sequence
from math import isnan
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ...progress import StepProgress, console
from ..options import AsJson
from ..output import print_json, show, show_rows

if TYPE_CHECKING:
    import pandas as pd

    from ...evaluation.case import EmptyPolicy
    from ...evaluation.pairing import Pair
    from ...evaluation.protocols import Protocol

MOST_NAMES = 10
"""The most cases that are named on the screen."""


def evaluate(
    predictions: Annotated[Path, typer.Argument(help="Folder of predicted label maps, CASE.nii.gz.")],
    labels: Annotated[Path, typer.Argument(help="Folder of reference label maps of the same names.")],
    out: Annotated[Path, typer.Option(help="File for the metrics; a summary is written next to it.")] = Path(
        "metrics.csv"
    ),
    regions: Annotated[
        bool, typer.Option("--regions", help="Measure the regions of dataset.json instead of its single values.")
    ] = (False),
    protocol: Annotated[
        str, typer.Option(help="Protocol of the metrics: default, laboratory, nnunet, brats2024, brats2025, brats2026.")
    ] = "default",
    tolerance: Annotated[float | None, typer.Option(help="Tolerance of NSD in mm. Default: the protocol's.")] = None,
    definition: Annotated[
        str | None,
        typer.Option(
            help="Definition of a surface: surface_elements (DeepMind's) or boundary_voxels (MONAI's). "
            "Default: the protocol's."
        ),
    ] = None,
    empty: Annotated[
        str | None,
        typer.Option(
            help="HD95 if one mask is empty: diagonal (of the image), a number of mm, or leave_out. "
            "Default: the protocol's."
        ),
    ] = None,
    both_empty: Annotated[
        str | None,
        typer.Option(
            help="What counts if both masks are empty: leave-out, or one for Dice 1, NSD 1 and HD95 0 (BraTS). "
            "Default: the protocol's."
        ),
    ] = None,
    lesions: Annotated[
        list[str] | None, typer.Option(help="Label whose lesions are counted as well. Repeat the option for more.")
    ] = (None),
    jobs: Annotated[
        int | None, typer.Option(min=1, help="Number of processes. Default: one per processor core.")
    ] = None,
    probabilities: Annotated[
        Path | None,
        typer.Option(
            help="Folder of probabilities from nndistill predict --probabilities, or from stock nnU-Net's "
            "--save_probabilities, to measure the calibration as well."
        ),
    ] = None,
    dataset_json: Annotated[
        Path | None,
        typer.Option(
            help="File that names the labels. Default: dataset.json next to the labels, above them, or with the "
            "predictions."
        ),
    ] = None,
    allow_missing: Annotated[
        bool,
        typer.Option("--allow-missing", help="Leave out cases that are in one folder only, instead of refusing them."),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Compare predictions with references: Dice, HD95 and NSD per case and label, volumes and lesions."""
    from ...dataset_json import named_labels
    from ...evaluation import protocols
    from ...evaluation.dataset_labels import find_dataset_json, ignored_value
    from ...evaluation.folder import EvaluationIncomplete, evaluate_folder
    from ...evaluation.metrics_file import check_place, summary_path, write_evaluation
    from ...evaluation.pairing import pair_cases
    from ...evaluation.patients import known_patients
    from ...evaluation.probability_maps import find_probabilities
    from ...files import read_json
    from ...runtime.machine import usable_cores

    jobs = jobs or usable_cores()
    check_place(out)
    if probabilities is not None:
        from ...evaluation.calibration_of_folder import calibration_path

        calibration_path(out)
    chosen = protocols.protocol(protocol)
    described = dataset_json or find_dataset_json(predictions, labels)
    description = read_json(described)
    named_labels(description, source=str(described))
    pairs: Sequence[Pair] = ()
    if probabilities is not None:
        pairs = pair_cases(predictions, labels, allow_missing=allow_missing).pairs
        find_probabilities(probabilities, [pair.case for pair in pairs])
    with StepProgress("cases") as report:
        try:
            evaluation = evaluate_folder(
                predictions,
                labels,
                labels=chosen.labels(description, regions=regions),
                protocol=protocol,
                tolerance=tolerance,
                definition=definition,  # type: ignore[arg-type]
                empty=None if empty is None else _policy(empty),
                both_empty=both_empty and both_empty.replace("-", "_"),  # type: ignore[arg-type]
                lesions=lesions or [],
                ignore=ignored_value(description),
                patients=known_patients(_data_set_folders(labels)),
                jobs=jobs,
                allow_missing=allow_missing,
                progress=report,
            )
        except EvaluationIncomplete as incomplete:
            if incomplete.evaluation is not None:
                write_evaluation(incomplete.evaluation, out)
                console.print(f"The metrics of the other cases are in {out}.", highlight=False, soft_wrap=True)
            raise
    write_evaluation(evaluation, out)
    calibration: dict[str, Any] = {}
    if probabilities is not None:
        calibration = _calibrate(probabilities, pairs, description, out=out, jobs=jobs)
    if as_json:
        print_json(evaluation.summary | {"metrics": str(out)} | ({"calibration": calibration} if calibration else {}))
        return
    summary = evaluation.summary
    headings = {"dice": "Dice"}
    if chosen.distances:
        headings |= {"hd95_mm": "HD95 (mm)", "nsd": f"NSD at {summary['tolerance_mm']:g} mm"}
    by = "" if protocol == "default" else f", protocol {protocol}"
    title = f"{_cases(summary['cases'])}{by}, mean ± SEM"
    show(_readable(summary, list(summary["labels"]), headings), title)
    if lesions:
        of_lesions = {"lesion_precision": "precision", "lesion_recall": "recall", "lesion_f1": "F1"}
        show(_readable(summary, lesions, of_lesions), "Lesions")
    for sentence in _remarks(summary, chosen):
        print(sentence)
    if calibration:
        _show_calibration(calibration)
    print(f"\nMetrics:  {out}\nSummary:  {summary_path(out)}")
    if calibration:
        print(f"Calibration: {', '.join(calibration['files'])}")


def _calibrate(
    probabilities: Path, pairs: Sequence[Pair], description: dict[str, Any], *, out: Path, jobs: int
) -> dict[str, Any]:
    """Measure and write the calibration; return its summary with the names of the files."""
    from ...evaluation.calibration_of_folder import calibrate_folder, write_calibration
    from ...reporting.figures.chart import save_chart
    from ...reporting.figures.reliability import draw_reliability

    with StepProgress("cases") as report:
        measured = calibrate_folder(probabilities, pairs, description, jobs=jobs, progress=report)
    table, summary = write_calibration(measured, out)
    figure = draw_reliability({label: scopes["foreground"] for label, scopes in measured.pooled.items()})
    figures = save_chart(figure, table.parent, table.stem.replace("calibration", "reliability"))
    return measured.summary() | {"files": [str(file) for file in (table, summary, *figures)]}


def _show_calibration(calibration: dict[str, Any]) -> None:
    headings = {"ece": "ECE", "brier": "Brier"}
    scopes = {"image": "whole image", "foreground": "around the foreground"}
    rows = {
        label: [_with_error(values[scope], column) for scope in scopes for column in headings]
        for label, values in calibration["labels"].items()
    }
    columns = [f"{heading}, {name}" for name in scopes.values() for heading in headings.values()]
    show_rows(columns, rows, f"Calibration, {calibration['bins']} bins, mean ± SEM over cases")


def _with_error(values: dict[str, Any], column: str) -> str:
    mean, error = values[f"{column}_mean"], values[f"{column}_sem"]
    if isnan(mean):
        return "–"
    return f"{mean:.4f}" + ("" if isnan(error) else f" ± {error:.4f}")


def _data_set_folders(labels: Path) -> list[Path]:
    """Where the report of the labels' data set may be: with them, above them, or in nnU-Net's raw data."""
    above = labels.resolve().parent
    raw = os.environ.get("nnUNet_raw")
    return [labels, above, *([Path(raw) / above.name] if raw else [])]


def _policy(empty: str) -> EmptyPolicy:
    try:
        return float(empty)
    except ValueError:
        return empty  # type: ignore[return-value]


def _readable(summary: dict[str, Any], labels: list[str], headings: dict[str, str]) -> pd.DataFrame:
    import pandas as pd

    from ...evaluation.aggregates import MEAN_OF_CASES, MEAN_OF_LABELS

    rows = {label: summary["labels"][label] for label in labels}
    if len(summary["labels"]) == len(rows) > 1:
        rows |= {name: summary[name.replace(" ", "_")] for name in (MEAN_OF_LABELS, MEAN_OF_CASES)}
    return pd.DataFrame(
        {heading: [_cell(row[column], column) for row in rows.values()] for column, heading in headings.items()},
        index=list(rows),
    )


def _cell(statistics: dict[str, Any], column: str) -> str:
    if statistics["mean"] is None:
        return "–"
    digits = 2 if column == "hd95_mm" else 3
    error = "" if statistics["sem"] is None else f" ± {statistics['sem']:.{digits}f}"
    left_out = f" (n={statistics['n']})" if statistics["left_out"] and "empty_labels" not in statistics else ""
    return f"{statistics['mean']:.{digits}f}{error}{left_out}"


def _remarks(summary: dict[str, Any], protocol: Protocol) -> list[str]:
    """What the table does not show: empty masks, missing cases, and values without a name."""
    remarks = []
    one_empty, both_empty = _one_empty(summary["empty"], protocol), _both_empty(summary["both_empty"], protocol)
    for label, row in summary["labels"].items():
        one = row["reference_empty"] + row["prediction_empty"]
        if row["both_empty"]:
            remarks.append(f"{label}: {_cases(row['both_empty'])} {both_empty}, empty in reference and prediction.")
        if one:
            remarks.append(
                f"{label}: {_cases(one)} {one_empty}: the reference is empty in {row['reference_empty']}, "
                f"the prediction in {row['prediction_empty']}."
            )
    if len(summary["labels"]) > 1:
        remarks += _aggregates(summary)
    for key, what in (("without_prediction", "a prediction"), ("without_reference", "a reference")):
        if summary[key]:
            first, more = summary[key][:MOST_NAMES], len(summary[key][MOST_NAMES:])
            rest = f" and {more} more (see the summary)" if more else ""
            remarks.append(f"Left out, since {what} is missing: {', '.join(first)}{rest}.")
    remarks += summary["not_used"]
    for key, values in summary["other_values"].items():
        if values:
            where = key.removeprefix("in_")
            remarks.append(f"The {where} contain values that belong to no label: {', '.join(map(str, values))}.")
    return remarks


def _one_empty(empty: EmptyPolicy, protocol: Protocol) -> str:
    """What becomes of a case if one of its masks is empty."""
    from ...evaluation.lesion_wise import LesionRules

    if not protocol.distances:
        return "with Dice 0"
    if empty == "leave_out":
        return "with Dice and NSD 0 and left out of HD95"
    penalty = "the diagonal of the image" if isinstance(empty, str) else f"{empty:g} mm"
    small = isinstance(protocol.lesion_rules, LesionRules)
    none_counts = ", or Dice and NSD 1 and HD95 0 if no lesion is large enough to count" if small else ""
    return f"with Dice and NSD 0 and HD95 {penalty}{none_counts}"


def _both_empty(both_empty: str, protocol: Protocol) -> str:
    """What becomes of a case if both of its masks are empty."""
    if not protocol.distances:
        return "with Dice 1" if both_empty == "one" else "left out"
    return {
        "leave_out": "left out",
        "one": "with Dice 1, NSD 1 and HD95 0",
        "nsd_one": "with NSD 1 and left out of Dice and HD95",
    }[both_empty]


def _aggregates(summary: dict[str, Any]) -> list[str]:
    """What the two means over all labels are, and what they leave out."""
    of_labels = summary["mean_of_labels"]["dice"]
    remarks = [
        "Mean of labels: over cases, then over labels (nnU-Net's foreground mean, the paper's overall). Mean of cases: "
        "over the labels of a case, then over cases (what paired tests compare)."
    ]
    if of_labels["left_out"]:
        values = f"{of_labels['left_out']} of {summary['cases'] * len(summary['labels'])} values of Dice"
        remarks.append(f"Both leave out {values} (case and label), which are undefined.")
    if of_labels["empty_labels"]:
        remarks.append(f"Without any value, and so in neither mean: {', '.join(of_labels['empty_labels'])}.")
    return remarks


def _cases(number: int) -> str:
    return f"{number} case{'' if number == 1 else 's'}"
