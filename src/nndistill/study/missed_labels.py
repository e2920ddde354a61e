"""Was a label not found, or outlined worse? The labels that trainings of a study missed, told from the others.

A training that predicts nothing of a structure loses all of its Dice at once, so a mean of labels may say how many
structures were found, and hide how well the others were outlined.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import nan

import pandas as pd

from ..evaluation.aggregates import finite
from ..reporting.metrics import METRICS, labels_in_order
from ..reporting.tables.table import Cell, Column, Table
from ..reporting.text.numbers import p_text, signed
from .rows import StudyRow, most_seeds
from .statistics import differences_of_rows
from .tables import score_cell, score_column

MISSED_BELOW = 0.2
"""Mean Dice over a training's cases, below which it has missed a label."""

_SHOWN = [metric for metric in METRICS if metric.column in ("dice", "nsd")]


def missed_label_table(groups: Mapping[str, Sequence[StudyRow]], teachers: Sequence[StudyRow]) -> Table | None:
    """Labels missed per training, and the scores of the labels that no training has missed.

    Args:
        groups: The students' rows by the name of the row that they are compared with, which is among them.
        teachers: The teachers' rows.

    Returns:
        `None` if no label was ever missed, or every one was.
    """
    students = [row for group in groups.values() for row in group]
    rows = [*teachers, *students]
    missed = {row.name: missed_labels(row.metrics) for row in rows}
    labels = labels_in_order([row.metrics for row in rows])
    ever = {label for of_row in missed.values() for label in of_row[of_row].index.get_level_values("label")}
    found = [label for label in labels if label not in ever]
    if not ever or not found:
        return None
    numbers = {name: of_row.groupby(["seed", "fold"]).sum() for name, of_row in missed.items()}
    of_base = {
        row.name: float(numbers[base].reindex(numbers[row.name].index).mean())
        for base, group in groups.items()
        for row in group
        if row.name != base
    }
    gains = {name: gain for base, group in groups.items() for name, gain in _gains(group, base, found).items()}
    seeds = most_seeds(rows)
    return Table(
        name="missed",
        title="Found and outlined",
        caption=f"Missed: labels whose mean Dice over the cases of a training is below {MISSED_BELOW:g}, of "
        f"{len(labels)}; mean over trainings. By the baseline: by the row compared with, in its trainings with the "
        f"same seeds and folds. The other columns are of the {len(found)} labels that no training of any row missed: "
        f"{', '.join(found)}. Their Dice and NSD, ± the standard deviation between seeds, and the difference of the "
        "Dice from that of the row compared with, as in the table of differences.",
        stubs=["Model"],
        columns=[
            Column("Missed", write="{:.2f}".format),
            Column("By the baseline", write="{:.2f}".format),
            *(score_column(f"{metric.name} of the others", metric, seeds=seeds) for metric in _SHOWN),
            *(Column(heading, write=signed) for heading in ("Difference", "95 % from", "to")),
            Column("p, patients", write=p_text),
        ],
        rows=[
            (
                [row.name],
                [
                    Cell(float(numbers[row.name].mean())),
                    Cell(of_base.get(row.name, nan)),
                    *(score_cell(row, metric, labels=found) for metric in _SHOWN),
                    *gains.get(row.name, [Cell(nan)] * 4),
                ],
            )
            for row in rows
        ],
    )


def missed_labels(metrics: pd.DataFrame) -> pd.Series[bool]:
    """Whether each training has missed each label.

    Args:
        metrics: As `StudyRow.metrics` gives them.

    Returns:
        One value for each seed, fold and label.

    Example:
        >>> metrics = pd.DataFrame({"seed": 0, "fold": 0, "label": ["a", "a", "b"], "dice": [0.1, 0.2, 0.9]})
        >>> missed_labels(metrics).to_dict()
        {(0, 0, 'a'): True, (0, 0, 'b'): False}
    """
    keys = [metrics["seed"], metrics["fold"], metrics["label"].astype(str)]
    return finite(metrics["dice"]).groupby(keys).mean() < MISSED_BELOW


def _gains(group: Sequence[StudyRow], base: str, labels: Sequence[str]) -> dict[str, list[Cell]]:
    frames = {row.name: row.metrics for row in group}
    of_labels = {name: frame[frame["label"].astype(str).isin(labels)] for name, frame in frames.items()}
    table = differences_of_rows(of_labels, base, "dice")
    keys = ["difference", "low", "high", "p_patients_holm"]
    return {str(name): [Cell(float(row[key])) for key in keys] for name, row in table.iterrows()}
