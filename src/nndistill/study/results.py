"""What a finished run leaves: small files, apart from models, that can be committed, copied and merged.

results/RUN/run.json       what the run was, how and where it was made, and digests
results/RUN/metrics.csv    metrics per case and label, as `nndistill evaluate` writes them
results/RUN/curves.csv     the training log, one row per epoch
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import nan
from pathlib import Path
from typing import Any

import pandas as pd

from ..errors import UserError
from ..evaluation.metrics_file import read_metrics
from ..files import atomic_folder, read_json, write_file, write_json
from .runs import StudyRun

_FACTS, _METRICS, _CURVES = "run.json", "metrics.csv", "curves.csv"


@dataclass(frozen=True)
class RunResult:
    """The result of one run.

    Args:
        run: The run.
        facts: Content of `run.json`.
        metrics: One row per case and label.
        curves: One row per epoch.
    """

    run: StudyRun
    facts: Mapping[str, Any]
    metrics: pd.DataFrame
    curves: pd.DataFrame

    @property
    def batches_per_epoch(self) -> int:
        """Batches between two rows of `curves`."""
        return int(self.run.definition["recipe"]["iterations"])


def result_file(results: Path, name: str) -> Path:
    """The file that says that a run is done."""
    return results / name / _FACTS


def with_patients(results: Mapping[str, RunResult], patients: Mapping[str, str]) -> dict[str, RunResult]:
    """The results with the patients of a table, also those that were measured before the study had it.

    Args:
        results: Results by the names of their runs.
        patients: The patient of each case; a case that it lacks keeps its own.
    """
    return {
        name: replace(
            result,
            metrics=result.metrics.assign(
                patient=result.metrics["case"].map(patients).fillna(result.metrics.get("patient", nan))
            ),
        )
        for name, result in results.items()
    }


def keep_result(
    results: Path, run: StudyRun, *, facts: Mapping[str, Any], metrics: pd.DataFrame, curves: pd.DataFrame
) -> None:
    """Write the result of a run, complete or not at all.

    Raises:
        UserError: The folder cannot be written.
    """
    with atomic_folder(results / run.name) as folder:
        write_file(folder / _METRICS, metrics.to_csv(index=False, float_format="%.6g").encode())
        write_file(folder / _CURVES, curves.to_csv(index=False, float_format="%.6g").encode())
        write_json(folder / _FACTS, {"run": run.name, "digest": run.digest, "definition": run.definition, **facts})


def is_done(results: Sequence[Path], run: StudyRun) -> bool:
    """Whether one of these folders has the result of this very run."""
    return any(_is_of(result_file(folder, run.name), run) for folder in results)


def read_results(results: Sequence[Path], runs: Sequence[StudyRun]) -> dict[str, RunResult]:
    """Read the results of all runs that are done, by name.

    Args:
        results: Folders of results; the first one that has a run counts.
        runs: The runs of the study.

    Raises:
        UserError: A result is damaged.
    """
    found = {}
    for run in runs:
        folder = next((folder for folder in results if _is_of(result_file(folder, run.name), run)), None)
        if folder is not None:
            found[run.name] = _read(folder / run.name, run)
    return found


def other_setups(results: Sequence[Path], runs: Sequence[StudyRun]) -> list[Path]:
    """The results that have the name of one of these runs and another setup."""
    files = [result_file(folder, run.name) for folder in results for run in runs]
    return [
        file.parent
        for file, run in zip(files, list(runs) * len(results), strict=True)
        if file.is_file() and not _is_of(file, run)
    ]


def some_names(results: Sequence[Path]) -> str:
    """The names of the first five results."""
    return ", ".join(folder.name for folder in results[:5]) + (", …" if len(results) > 5 else "")


def refuse_other_folds(results: Mapping[str, RunResult]) -> None:
    """Refuse results of one fold that were measured on different validation cases.

    Args:
        results: Results that report validation cases, by the names of their runs.

    Raises:
        UserError: There are such results: the trainings had other folds, so a network may have seen what another
            is measured on.
    """
    first: dict[int | None, str] = {}
    for name, result in results.items():
        to = first.setdefault(result.run.fold, name)
        one, other = (set(results[run].metrics["case"]) for run in (to, name))
        if differing := sorted(one ^ other):
            where = "the pilot" if result.run.fold is None else f"fold {result.run.fold}"
            raise UserError(
                f"the results {to} and {name} have different validation cases in {where}, such as {differing[0]}: "
                "they were trained with different folds (splits_final.json), and cannot be reported together. Move "
                "those of the wrong folds elsewhere."
            )


def _is_of(file: Path, run: StudyRun) -> bool:
    return file.is_file() and read_json(file).get("digest") in (run.digest, run.earlier_digest)


def _read(folder: Path, run: StudyRun) -> RunResult:
    try:
        curves = pd.read_csv(folder / _CURVES)
    except (OSError, ValueError) as error:
        raise UserError(f"{folder / _CURVES} cannot be read: {str(error).strip()}. Delete {folder}.") from error
    return RunResult(run, read_json(folder / _FACTS), read_metrics(folder / _METRICS), curves)
