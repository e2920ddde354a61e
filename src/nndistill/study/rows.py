"""The rows of a study's tables: all trainings of one teacher, or of one method with one student, together."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd

from ..evaluation.aggregates import Mean, mean_of_cases, mean_of_labels
from .definition import Study, TableName
from .results import RunResult
from .runs import StudyRun


@dataclass(frozen=True)
class StudyRow:
    """One row.

    Args:
        name: Its heading.
        is_teacher: Whether it is a teacher, which is never marked as the best.
        tables: The tables in which it is.
        results: Its trainings that are done.
        missing: Names of those that are not.
        chosen: What the pilot chose: a weight such as `μ = 0.5`, or a share of the gradient; empty if it chose nothing.
    """

    name: str
    is_teacher: bool
    tables: Sequence[TableName]
    results: Sequence[RunResult]
    missing: Sequence[str]
    chosen: str

    @cached_property
    def metrics(self) -> pd.DataFrame:
        """Metrics of all trainings, with the columns `seed`, `fold` and `patient`; the case if no patient is known."""
        frames = []
        for result in self.results:
            frame = result.metrics.assign(seed=result.run.seed, fold=result.run.fold)
            known = frame["patient"].fillna(frame["case"]) if "patient" in frame else frame["case"]
            frames.append(frame.assign(patient=known))
        return pd.concat(frames, ignore_index=True)

    def by_seed(self, column: str, *, labels: Collection[str] | None = None, by_case: bool = False) -> dict[int, float]:
        """The value of each seed, over all its folds.

        Args:
            column: The metric.
            labels: Some labels; default: all.
            by_case: Mean of cases instead of mean of labels.
        """
        metrics = self.metrics
        if labels is not None:
            metrics = metrics[metrics["label"].astype(str).isin(labels)]
        return {
            int(seed): _of_one_seed(metrics[metrics["seed"] == seed], column, by_case=by_case).value
            for seed in sorted(metrics["seed"].unique())
        }

    def over_seeds(
        self, column: str, *, labels: Collection[str] | None = None, by_case: bool = False
    ) -> tuple[float, float, int]:
        """Mean and standard deviation of what `by_seed` gives, and the number of seeds."""
        values = self.by_seed(column, labels=labels, by_case=by_case).values()
        defined = [value for value in values if np.isfinite(value)]
        if not defined:
            return np.nan, np.nan, 0
        spread = float(np.std(defined, ddof=1)) if len(defined) > 1 else np.nan
        return float(np.mean(defined)), spread, len(defined)

    def folds_of(self, seed: int) -> int:
        """Number of folds that are done with a seed."""
        return sum(result.run.seed == seed for result in self.results)

    @property
    def seconds(self) -> float:
        """Mean time of a training."""
        return float(np.mean([result.facts["seconds"] for result in self.results]))

    @property
    def curves(self) -> pd.DataFrame:
        """The training log, averaged over the trainings; as long as the shortest."""
        epochs = min(len(result.curves) for result in self.results)
        stacked = np.stack([result.curves.to_numpy(np.float64)[:epochs] for result in self.results])
        return pd.DataFrame(stacked.mean(axis=0), columns=self.results[0].curves.columns)


def study_rows(study: Study, runs: Sequence[StudyRun], results: Mapping[str, RunResult]) -> list[StudyRow]:
    """Collect the rows of a study, teachers first; a row without any training that is done is left out."""
    rows: dict[tuple[str, str | None, str | None], list[StudyRun]] = {}
    for run in sorted((run for run in runs if not run.is_pilot), key=lambda run: run.method is not None):
        rows.setdefault((run.teacher, run.student, run.method), []).append(run)
    found = []
    for (teacher, student, method), members in rows.items():
        done = [results[run.name] for run in members if run.name in results]
        if done:
            found.append(
                StudyRow(
                    name=row_name(study, teacher, student, method),
                    is_teacher=method is None,
                    tables=["overall"] if method is None else study.methods[method].tables,
                    results=done,
                    missing=[run.name for run in members if run.name not in results],
                    chosen=_chosen(study, method, done),
                )
            )
    return found


def most_seeds(rows: Sequence[StudyRow]) -> int:
    """The largest number of seeds with which a row's students are trained."""
    return max(len({result.run.seed for result in row.results}) for row in rows if not row.is_teacher)


def base_of(study: Study, row: StudyRow) -> str:
    """Name of the row that a row is compared with: the first method with the same teacher and student."""
    run = row.results[0].run
    return row_name(study, run.teacher, run.student, study.base)


def row_name(study: Study, teacher: str, student: str | None, method: str | None) -> str:
    """The heading of the row of a teacher, or of a method with its student."""
    if method is None:
        return teacher if len(study.teachers) > 1 else "Teacher"
    parts = [method]
    parts += [student] if student and len(study.students) > 1 else []
    parts += [f"of {teacher}"] if len(study.teachers) > 1 else []
    return ", ".join(parts)


def _chosen(study: Study, method: str | None, done: Sequence[RunResult]) -> str:
    if method is None or not (row := study.methods[method]).tried:
        return ""
    kind = "share" if row.balances else "μ ="
    return ", ".join(f"{kind} {value:g}" for value in sorted({float(result.facts["weight"]) for result in done}))


def _of_one_seed(metrics: pd.DataFrame, column: str, *, by_case: bool) -> Mean:
    """The mean over all folds; a case that several folds predict, as a test case, counts once per fold."""
    one_per_fold = metrics.assign(case=metrics["case"] + " " + metrics["fold"].astype(str))
    return (mean_of_cases if by_case else mean_of_labels)(one_per_fold, column)
