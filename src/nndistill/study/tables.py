"""The tables of a study: overall, per label, ablations, differences over seeds and patients, equal budgets, costs."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from math import isfinite, nan
from typing import Any

import pandas as pd

from ..evaluation.aggregates import finite
from ..reporting.metrics import METRICS, Metric, labels_in_order
from ..reporting.tables.table import Cell, Column, Table
from ..reporting.text.numbers import p_text, signed
from .definition import TableName
from .rows import StudyRow, most_seeds

_OVER_SEEDS = (
    "± is the standard deviation of the score between seeds; a number in parentheses is the number of seeds of a row "
    "that has fewer than others, to be compared by the table of differences alone."
)

_UNFINISHED = (
    " A row with only some of its trainings can be a mean over fewer folds, and so over other patients than the others."
)


def results_table(rows: Sequence[StudyRow], name: TableName, title: str) -> Table | None:
    """All labels together (the paper's Tables 1 and 4); `None` if no method is in it."""
    shown = [row for row in rows if name in row.tables]
    if all(row.is_teacher for row in shown):
        return None
    seeds = most_seeds(rows)
    columns = [
        *(score_column(metric.heading, metric, seeds=seeds) for metric in METRICS),
        score_column("Dice, mean of cases ↑", METRICS[0], seeds=seeds),
        Column("Chosen"),
        Column("Trainings"),
    ]
    cells = {row.name: [score_cell(row, metric) for metric in METRICS] for row in shown}
    for row in shown:
        cells[row.name].append(score_cell(row, METRICS[0], by_case=True))
    best = _best_marked(shown, cells)
    return Table(
        name=name,
        title=title,
        caption="Mean of labels: averaged over the cases of all folds, then over the labels, as the paper's overall "
        f"is. {_OVER_SEEDS} {_seeds_of_teachers(rows)} Chosen: by the pilot, the weight μ or the share of the gradient."
        + (_UNFINISHED if any(row.missing for row in shown) else ""),
        stubs=["Model"],
        columns=columns,
        rows=[([row.name], [*best[row.name], Cell(row.chosen or "–"), Cell(_trainings(row))]) for row in shown],
    )


def seed_table(rows: Sequence[StudyRow]) -> Table | None:
    """The students with every seed; `None` if there is only one seed."""
    students = [row for row in rows if not row.is_teacher]
    seeds = sorted({result.run.seed for row in students for result in row.results})
    if len(seeds) < 2:
        return None
    metric = METRICS[0]
    folds = max(row.folds_of(seed) for row in students for seed in seeds)
    values = {row.name: row.by_seed(metric.column) for row in students}
    return Table(
        name="seeds",
        title=f"{metric.name} with every seed",
        caption="Mean of labels: averaged over the cases of all folds, then over the labels, as in the overall table. "
        "A number in parentheses is the number of folds if not all of them are done.",
        stubs=["Model"],
        columns=[Column(f"Seed {seed}", write=metric.text, cases=folds, count_name="folds") for seed in seeds],
        rows=[
            ([row.name], [Cell(values[row.name].get(seed, nan), count=row.folds_of(seed) or None) for seed in seeds])
            for row in students
        ],
    )


def class_table(rows: Sequence[StudyRow]) -> Table:
    """Every label (the paper's Table 2)."""
    labels = labels_in_order([row.metrics for row in rows])
    seeds = most_seeds(rows)
    return Table(
        name="classes",
        title="Every label",
        caption=f"Mean over cases. {_OVER_SEEDS} {_seeds_of_teachers(rows)}",
        stubs=["Model"],
        columns=[
            score_column(metric.heading, metric, seeds=seeds, group=label) for label in labels for metric in METRICS
        ],
        rows=[
            ([row.name], [score_cell(row, metric, labels=[label]) for label in labels for metric in METRICS])
            for row in rows
        ],
    )


def difference_table(differences: Mapping[Metric, pd.DataFrame], base: str, *, name: str) -> Table | None:
    """Is it the method or the seed? `None` if there is nothing to compare; `name` is that of the table's files."""
    rows = [
        ([metric.name, str(model)], _difference_cells(row, metric))
        for metric, table in differences.items()
        for model, row in table.iterrows()
    ]
    if not rows:
        return None
    interval = [
        Column(heading, write=signed)
        for heading in (
            "Difference",
            "95 % from",
            "to",
        )
    ]
    return Table(
        name=name,
        title=f"Compared with {base}",
        caption="Paired by case, seed and fold, with the seeds of which both rows have the folds that they have with "
        "any; every patient counts the same. The interval is for new patients and new seeds (crossed bootstrap), or "
        "for new patients alone if there is one seed. With two or three seeds it is too narrow (up to one in four "
        "excludes zero where there is no difference); trust it with a small p over seeds alone. p over patients: "
        "Wilcoxon's signed-rank test of each patient's "
        "mean over seeds. p over seeds: t-test of each seed's mean over patients. Both after Holm's correction over "
        "the rows of a metric. A method that differs over patients but not over seeds has not been shown to be "
        "better. Seeds: in how many of them the difference, over all patients, has the same direction as the mean. "
        "The SD is that of the difference between rows; ± in the other tables is that of a row's score.",
        stubs=["Metric", "Model"],
        columns=[
            Column(base, write="{:.3g}".format),
            *interval,
            Column("p, patients", write=p_text),
            Column("p, seeds", write=p_text),
            Column("Seeds"),
            Column("SD of the difference between seeds", write="{:.3g}".format),
            Column("Patients"),
        ],
        rows=rows,
    )


def budget_table(rows: Sequence[StudyRow]) -> Table | None:
    """Pseudo Dice during the training, at equal batches and at equal time; `None` with fewer than two students."""
    students = [row for row in rows if not row.is_teacher]
    if len(students) < 2:
        return None
    curves = {row.name: row.curves for row in students}
    per_epoch = {row.name: row.results[0].batches_per_epoch for row in students}
    batches = min(per_epoch[name] * len(curve) for name, curve in curves.items())
    seconds = min(float(curve["seconds"].sum()) for curve in curves.values())
    shares = (0.25, 0.5, 1.0)
    rows_of_table = []
    for name, curve in curves.items():
        passed = curve["seconds"].cumsum().to_numpy()
        at_batches = [_dice_after(curve, int(share * batches) // per_epoch[name]) for share in shares]
        at_time = [_dice_after(curve, int((passed <= share * seconds + 1e-9).sum())) for share in shares]
        share_of_gradient = float(curve["gradient_share"].mean()) or nan
        cells = [Cell(value) for value in (*at_batches, *at_time, float(passed[-1]), share_of_gradient)]
        rows_of_table.append(([name], cells))
    return Table(
        name="budget",
        title="At equal batches and at equal time",
        caption="nnU-Net's pseudo Dice (moving average, on validation patches), mean over trainings, after the "
        f"last epoch that has ended. Equal batches: shares of {batches}. Equal time: shares of the time that the "
        f"fastest row takes for all its batches, {seconds / 60:.3g} min; it compares methods only if every training "
        "had its machine to itself. Share of the gradient: norm of the distillation's gradient on the student in that "
        "of the segmentation's, mean over epochs.",
        stubs=["Model"],
        columns=[
            *(Column(f"{share:.0%} of the batches", write="{:.3f}".format) for share in shares),
            *(Column(f"{share:.0%} of the time", write="{:.3f}".format) for share in shares),
            Column("Seconds", write="{:.0f}".format),
            Column("Share of the gradient", write="{:.2g}".format),
        ],
        rows=rows_of_table,
    )


def _dice_after(curve: pd.DataFrame, epochs: int) -> float:
    """Pseudo Dice after a number of epochs; NaN after none."""
    return float(curve["dice"].iloc[epochs - 1]) if epochs else nan


def cost_table(rows: Sequence[StudyRow]) -> Table:
    """What the networks and their trainings cost (the paper's Table 3)."""
    return Table(
        name="costs",
        title="Costs",
        caption="FLOPs of convolutions, two per multiply-add. Time: mean of a training on the machines named below.",
        stubs=["Model"],
        columns=[
            Column("Parameters", write=lambda number: f"{number / 1e6:.3f} M"),
            Column("FLOPs per patch", write=lambda number: f"{number / 1e9:.1f} G"),
            Column("Training", write=lambda seconds: f"{seconds / 60:.1f} min"),
        ],
        rows=[
            (
                [row.name],
                [
                    Cell(float(row.results[0].facts["costs"]["parameters"])),
                    Cell(float(row.results[0].facts["costs"]["flops_patch"])),
                    Cell(row.seconds),
                ],
            )
            for row in rows
        ],
    )


def _seeds_of_teachers(rows: Sequence[StudyRow]) -> str:
    seeds = {result.run.seed for row in rows if row.is_teacher for result in row.results}
    if len(seeds) > 1:
        return f"The teacher's row is over all of its trainings, with the seeds {', '.join(map(str, sorted(seeds)))}."
    return "Teachers are trained with one seed."


def score_column(heading: str, metric: Metric, *, seeds: int, group: str = "") -> Column:
    """The column of cells as `score_cell` makes them."""
    return Column(heading, group, metric.text, cases=seeds, error_name="SD", count_name="seeds")


def score_cell(row: StudyRow, metric: Metric, *, labels: Collection[str] | None = None, by_case: bool = False) -> Cell:
    """The score of a row over its seeds, with their number if it is a student's."""
    value, spread, seeds = row.over_seeds(metric.column, labels=labels, by_case=by_case)
    return Cell(value, spread, None if row.is_teacher else seeds)


def _best_marked(rows: Sequence[StudyRow], cells: Mapping[str, Sequence[Cell]]) -> dict[str, list[Cell]]:
    """The cells, with the best student of each metric marked, among those that have the most seeds and folds.

    None is, if some lack values that others have: a distance is better without the labels that were missed.
    """
    marked = {row.name: list(cells[row.name]) for row in rows}
    trainings = {row.name: {(result.run.seed, result.run.fold) for result in row.results} for row in rows}
    most = max((trainings[row.name] for row in rows if not row.is_teacher), key=len)
    students = [row for row in rows if not row.is_teacher and trainings[row.name] == most]
    for place, metric in enumerate([*METRICS, METRICS[0]]):
        values = {row.name: float(marked[row.name][place].value) for row in students}
        defined = [value for value in values.values() if isfinite(value)]
        measured = {_defined(row, metric) for row in students}
        if len({metric.text(value) for value in defined}) < 2 or len(measured) > 1:
            continue
        best = metric.text(max(defined) if metric.higher_is_better else min(defined))
        for name, value in values.items():
            if metric.text(value) == best:
                cell = marked[name][place]
                marked[name][place] = Cell(cell.value, cell.error, cell.count, best=True)
    return marked


def _defined(row: StudyRow, metric: Metric) -> frozenset[tuple[Any, ...]]:
    """Which values a row has."""
    values = row.metrics[finite(row.metrics[metric.column]).notna()]
    return frozenset(values[["case", "label", "seed", "fold"]].itertuples(index=False, name=None))


def _trainings(row: StudyRow) -> str:
    """How many are done, and of how many if some are not."""
    done, left = len(row.results), len(row.missing)
    return f"{done} of {done + left}" if left else str(done)


def direction(row: pd.Series[float], metric: Metric) -> str:
    """In how many seeds the difference has the direction of the mean: `better in 1 of 2`.

    Args:
        row: A row of `differences_of_rows`.
        metric: What it compares.
    """
    gain = row["difference"] if metric.higher_is_better else -row["difference"]
    verdict = "better" if gain > 0 else "worse" if gain < 0 else "equal"
    return f"{verdict} in {int(row['seeds_in_favour'])} of {int(row['seeds'])}"


def _difference_cells(row: pd.Series[float], metric: Metric) -> list[Cell]:
    return [
        Cell(float(row["base"])),
        *(Cell(float(row[key])) for key in ("difference", "low", "high", "p_patients_holm", "p_seeds_holm")),
        Cell(direction(row, metric)),
        Cell(float(row["spread"]) if isfinite(row["spread"]) else nan),
        Cell(str(int(row["patients"]))),
    ]
