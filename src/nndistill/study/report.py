"""The report of a study: tables over seeds and folds, statistics, figures and the page, from results alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from ..errors import UserError
from ..evaluation.few_pairs import too_few
from ..evaluation.paired_units import patients_in
from ..evaluation.patients import read_patients
from ..files import write_file
from ..reporting.figures.palette import model_styles
from ..reporting.figures.training_curves import draw_training_curves
from ..reporting.metrics import METRICS, Metric
from ..reporting.model_results import ReportedModel
from ..reporting.outdated import delete_outdated
from ..reporting.page.sections_page import Section, write_sections_page
from ..reporting.tables.table import Table
from ..reporting.text.numbers import counted, p_text, signed
from .batches_saved import batches_saved_table
from .definition import Study, slug
from .missed_labels import missed_label_table
from .places import StudyPlaces
from .results import RunResult, other_setups, read_results, refuse_other_folds, some_names, with_patients
from .rows import StudyRow, base_of, row_name, study_rows
from .runs import StudyRun, study_runs
from .statistics import differences_of_rows
from .tables import budget_table, class_table, cost_table, difference_table, direction, results_table, seed_table

_SIGNIFICANT = 0.05

_NOT_IN_EVERY_REPORT = ("seeds", "ablations", "differences*", "missed", "budget", "batches-saved", "training")


@dataclass(frozen=True)
class StudyReport:
    """What was written.

    Args:
        page: The HTML page.
        tables: All tables by name.
        missing: Names of the runs that are not in it, as they are not done.
    """

    page: Path
    tables: dict[str, Table]
    missing: Sequence[str]


def write_study_report(study: Study, places: StudyPlaces, *, results: Sequence[Path] = ()) -> StudyReport:
    """Write the report of the runs that are done: `report.html`, and `tables/` and `figures/` for papers.

    Tables and figures of an earlier report that are not in this one are deleted.

    Args:
        study: The study.
        places: Where its files are.
        results: Further folders of results, such as those of the same study on another machine.

    Raises:
        UserError: No run is done, or a result is damaged.
    """
    runs = study_runs(study, folder=places.folder)
    found = read_results([places.results, *results], runs)
    patients = patients_in([result.metrics for result in found.values()])  # not every machine may have known them
    if study.patients:
        patients |= read_patients(places.folder / study.patients)
    if patients:
        found = with_patients(found, patients)
    others = other_setups([places.results, *results], [run for run in runs if run.name not in found])
    if study.test is None:
        refuse_other_folds(found)
    rows = study_rows(study, runs, found)
    students = [row for row in rows if not row.is_teacher]
    if not students:
        of_others = _of_other_setups(others)
        raise UserError(
            f"no student of the study {places.file} is done yet; `nndistill study run` trains them."
            + (f" {of_others}" if of_others else "")
        )
    missing = [run.name for run in runs if run.name not in found]
    not_begun = _not_begun(study, runs, rows)
    groups = _groups(study, rows)
    comparisons = _comparisons(groups)

    models = [_reported(row) for row in rows]
    training = draw_training_curves(models)
    drawings = [training] if training else []
    results_tables = [results_table(rows, "overall", "Overall"), seed_table(rows), class_table(rows)]
    missed = missed_label_table(groups, [row for row in rows if row.is_teacher])
    ablations = results_table(rows, "ablations", "Ablations")
    statistics = [
        table
        for base, differences in comparisons.items()
        if (table := difference_table(differences, base, name=_table_name(study, base)))
    ]
    training_tables = [budget_table(rows), batches_saved_table(groups)]
    costs = cost_table(rows)
    sections = [
        Section("summary", "Summary", sentences=_summary(rows, groups, comparisons, missing, not_begun, others)),
        Section("results", "Results", tables=[table for table in results_tables if table]),
        Section("ablation", "Ablations", tables=[ablations] if ablations else []),
        Section("statistics", "Method or seed?", tables=statistics),
        Section("found-and-outlined", "Found and outlined", tables=[missed] if missed else []),
        Section("training", "Training", tables=[table for table in training_tables if table], drawings=drawings),
        Section("cost", "Costs", tables=[costs]),
        Section("provenance", "How it was made", sentences=_provenance(list(found.values()))),
    ]
    tables = [table for section in sections for table in section.tables]
    written = [file for table in tables for file in table.write(places.report / "tables")]
    written += [file for drawing in drawings for file in drawing.write(places.report / "figures")]
    page = places.report / "report.html"
    write_sections_page(
        page,
        title=study.description,
        subtitle=f"{len(found)} of {counted(len(runs), 'run')}, {counted(len(study.seeds), 'seed')}, "
        f"{counted(len(study.folds), 'fold')}, protocol {study.protocol}",
        sections=sections,
        styles=model_styles(models),
        figures=places.report / "figures",
    )
    write_file(places.report / "runs.csv", _run_table(found).to_csv(index=False).encode())
    delete_outdated(places.report, _NOT_IN_EVERY_REPORT, written)
    return StudyReport(page, {table.name: table for table in tables}, missing)


def _groups(study: Study, rows: Sequence[StudyRow]) -> dict[str, list[StudyRow]]:
    """The students' rows by the name of the row that they are compared with, where that is done."""
    by_name = {row.name: row for row in rows if not row.is_teacher}
    groups: dict[str, list[StudyRow]] = {}
    for row in by_name.values():
        if (base := base_of(study, row)) in by_name:
            groups.setdefault(base, []).append(row)
    return groups


def _comparisons(groups: Mapping[str, Sequence[StudyRow]]) -> dict[str, dict[Metric, pd.DataFrame]]:
    """By the row that others are compared with: the differences in each metric."""
    return {
        base: {
            metric: differences_of_rows({row.name: row.metrics for row in members}, base, metric.column)
            for metric in METRICS
        }
        for base, members in groups.items()
        if len(members) > 1
    }


def _not_begun(study: Study, runs: Sequence[StudyRun], rows: Sequence[StudyRow]) -> list[str]:
    """Names of the rows of which no training is done."""
    names = dict.fromkeys(row_name(study, run.teacher, run.student, run.method) for run in runs if not run.is_pilot)
    return [name for name in names if name not in {row.name for row in rows}]


def _table_name(study: Study, base: str) -> str:
    """The same whatever is done, and of its own for each row that others are compared with, since tables are files."""
    return "differences" if len(study.students) == len(study.teachers) == 1 else f"differences-{slug(base)}"


def _summary(
    rows: Sequence[StudyRow],
    groups: Mapping[str, Sequence[StudyRow]],
    comparisons: Mapping[str, Mapping[Metric, pd.DataFrame]],
    missing: Sequence[str],
    not_begun: Sequence[str],
    others: Sequence[Path],
) -> list[str]:
    sentences = []
    for base, differences in comparisons.items():
        dice = differences[METRICS[0]]
        sentences += [_sentence(str(name), base, row) for name, row in dice.iterrows()]
        if apart := [row.name for row in groups[base] if row.name != base and row.name not in dice.index]:
            sentences.append(f"Not compared with {base}, with which they share no case and seed: {'; '.join(apart)}.")
        sentences += [
            _of_one_row(str(name), base, metric, row)
            for metric, table in differences.items()
            for name, row in table.iterrows()
            if row["only_base"] or row["only_other"]
        ]
        few = [str(name) for name, row in dice.iterrows() if row["seeds"] < 3]
        if few:
            sentences.append(f"Fewer than three seeds are too few to tell a method from luck: {'; '.join(few)}.")
    if incomplete := [row.name for row in rows if row.missing]:
        sentences.append(f"Not all trainings are done of: {', '.join(incomplete)}. Their rows are of the others.")
    if not_begun:
        sentences.append(f"No training is done of: {'; '.join(not_begun)}.")
    if missing:
        sentences.append(f"{counted(len(missing), 'run')} {'has' if len(missing) == 1 else 'have'} no result yet.")
    return [*sentences, *filter(None, [_of_other_setups(others)])]


def _of_other_setups(results: Sequence[Path]) -> str:
    """A sentence on results that are there and do not count; empty if there are none."""
    if not results:
        return ""
    number = counted(len(results), "result")
    one = len(results) == 1
    return f"{number} of another setup than this {'does' if one else 'do'} not count: {some_names(results)}."


def _sentence(name: str, base: str, row: pd.Series[float]) -> str:
    """What the numbers say, with the caution that they ask for."""
    difference, low, high = (signed(row[key], "+.3f") for key in ("difference", "low", "high"))
    text = f"{name}: Dice {difference} against {base}, {direction(row, METRICS[0])} seeds"
    if few := too_few(int(row["patients"]), "patient"):
        return f"{text} ({few})."
    patients_alone = ", for new patients alone" if row["seeds"] == 1 else ""
    interval = f"{text} (95 % interval {low} to {high}{patients_alone})"
    if row["low"] <= 0 <= row["high"]:
        return f"{interval}; no difference has been shown."
    if row["p_seeds_holm"] >= _SIGNIFICANT:
        return f"{interval}; over seeds, none has been shown (p = {p_text(row['p_seeds_holm'])})."
    return f"{interval}."


def _of_one_row(name: str, base: str, metric: Metric, row: pd.Series[float]) -> str:
    """A mean over fewer labels can be better because the difficult ones are missing."""
    only_base, only_other = int(row["only_base"]), int(row["only_other"])
    return (
        f"{name}: {counted(only_base + only_other, 'value')} of {metric.name} (case, label and training) "
        f"{'is' if only_base + only_other == 1 else 'are'} defined in one row only, {only_base} in {base} and "
        f"{only_other} in {name}; each row is averaged over its own, so a label that a row has missed can improve it."
    )


def _reported(row: StudyRow) -> ReportedModel:
    return ReportedModel(
        name=row.name, metrics=row.metrics, role="teacher" if row.is_teacher else "student", curves=row.curves
    )


def _provenance(results: Sequence[RunResult]) -> list[str]:
    """On which processors, and with which versions."""
    counts: dict[str, int] = {}
    for result in results:
        made = result.facts["machine"]
        versions = ", ".join(f"{name} {number}" for name, number in made["versions"].items())
        words = f"{made['processor']}, {counted(made['cpus'], 'core')}{_gpu(made)}; Python {made['python']}, {versions}"
        counts[words] = counts.get(words, 0) + 1
    return [f"{counted(number, 'run')} on {words}." for words, number in counts.items()]


def _gpu(made: dict[str, object]) -> str:
    gpus = made.get("gpus")
    return f", {', '.join(map(str, gpus))}" if isinstance(gpus, list) and gpus else ""


def _run_table(found: dict[str, RunResult]) -> pd.DataFrame:
    """One row per run, for those who compute on."""
    return pd.DataFrame(
        [
            {
                "run": name,
                **{key: result.facts.get(key) for key in ("title", "method", "seed", "fold", "weight", "seconds")},
                "finished": result.facts["finished"],
                "processor": result.facts["machine"]["processor"],
                "checkpoint_sha256": result.facts["checkpoint_sha256"],
            }
            for name, result in found.items()
        ]
    )
