"""Sentences that say what the results of a report mean."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import isfinite

import pandas as pd

from ...evaluation.aggregates import mean_of_labels
from ...evaluation.comparison import Comparison
from ...evaluation.few_pairs import too_few
from ..metrics import DICE, METRICS, Metric
from ..model_results import ReportedModel, students_of, teacher_of
from .numbers import counted, p_text, signed


def summary_sentences(models: Sequence[ReportedModel]) -> list[str]:
    """The report in a few sentences: the teacher, the best student, and what this student saves."""
    teacher, students = teacher_of(models), students_of(models)
    sentences = []
    if teacher is not None:
        named = "" if teacher.name.casefold() == "teacher" else f", {_quoted(teacher)},"
        sentences.append(f"The teacher{named} reaches {_scores(teacher)}.")
    best = _best(students)
    if best is None:
        return sentences
    repeated = {student.repeats or student.name for student in students}
    one_method = len(students) > 1 and len(repeated) == 1
    if one_method:
        sentences += [f"{_quoted(student)} reaches {_scores(student)}." for student in students]
    else:
        which = "The best student by Dice" if len(students) > 1 else "The student"
        share = _mean(best, DICE) / _mean(teacher, DICE) if teacher is not None else float("nan")
        of_teacher = f", {100 * share:.1f} % of the teacher's Dice" if isfinite(share) else ""
        sentences.append(f"{which} is {_quoted(best)} with {_scores(best)}{of_teacher}.")
    if teacher is not None and teacher.cost is not None and best.cost is not None:
        parameters = teacher.cost.parameters / best.cost.parameters
        flops = teacher.cost.flops_patch / best.cost.flops_patch
        sentences.append(
            f"{'Each' if one_method else 'It'} has {parameters:.1f} times fewer parameters than the teacher and needs "
            f"{flops:.1f} times fewer operations."
        )
    return sentences + _about_seeds(students)


def comparison_sentences(comparison: Comparison, metric: Metric) -> list[str]:
    """What the statistics of a comparison say, one sentence per model."""
    corrected = len(comparison.table) > 1
    return [_comparison(str(name), row, metric, corrected) for name, row in comparison.table.iterrows()]


def cautions(comparisons: Mapping[Metric, Comparison]) -> list[str]:
    """What the reader of the statistics has to know: every sentence once, with its metrics unless it is about all."""
    by_note: dict[str, list[str]] = {}
    for metric, comparison in comparisons.items():
        for note in comparison.notes:
            by_note.setdefault(note, []).append(metric.name)
    return [
        note if len(names) == len(comparisons) else f"{note.rstrip('.')} ({', '.join(names)})."
        for note, names in by_note.items()
    ]


def _about_seeds(students: Sequence[ReportedModel]) -> list[str]:
    """What a difference between models means that differ in nothing but the seed, one sentence for each set of them."""
    sets: dict[str, list[str]] = {}
    for student in students:
        sets.setdefault(student.repeats or student.name, []).append(_quoted(student))
    return [
        f"{', '.join(names[:-1])} and {names[-1]} differ in nothing but the seed: the difference between them is what "
        "a seed does."
        for names in sets.values()
        if len(names) > 1
    ]


def _comparison(name: str, row: pd.Series[float], metric: Metric, corrected: bool) -> str:
    pairs = int(row["pairs"])
    of_cases, of_labels = (
        _change(row["base"], row["other"], metric),
        _change(row["base_of_labels"], row["other_of_labels"], metric),
    )
    sentence = f"{name}: {of_cases} on average"
    sentence += f" over {counted(pairs, 'case')}"
    if isfinite(row["ci_low"]):
        low, high = (signed(row[key], f"+.{metric.digits}f") for key in ("ci_low", "ci_high"))
        sentence += f" (95 % interval of the difference {low} to {high}{_about_interval(row)})"
    suffix = "_holm" if corrected else ""
    tests = {"paired t-test": row[f"t_p{suffix}"], "Wilcoxon": row[f"wilcoxon_p{suffix}"]}
    shown = [f"{test} p {_equals(p)}" for test, p in tests.items() if isfinite(p)]
    if shown:
        sentence += "; " + ", ".join(shown) + (" after Holm's correction" if corrected else "")
    if isfinite(row["gap_recovered"]):
        share = float(row["gap_recovered"])
        sentence += f"; it recovers {f'{100 * share:.0f} %' if share > 0 else 'none'} of the gap to the teacher"
    if of_cases != of_labels:
        sentence += f"; that is the mean of cases, and the mean of labels is {of_labels}"
    return sentence + "."


def _about_interval(row: pd.Series[float]) -> str:
    by_patient = row["patients"] < row["pairs"]  # NaN if the patients are not known
    if few := too_few(int(row["patients" if by_patient else "pairs"]), "patient" if by_patient else "case"):
        return f"; {few}"
    return f", which {'includes' if row['ci_low'] <= 0 <= row['ci_high'] else 'excludes'} zero"


def _change(base: float, other: float, metric: Metric) -> str:
    """`0.600 → 0.703, 0.103 better`."""
    difference = float(other - base)
    better = difference > 0 if metric.higher_is_better else difference < 0
    verdict = "the same" if difference == 0 else f"{metric.text(abs(difference))} {'better' if better else 'worse'}"
    return f"{f'{metric.text(base)} → {metric.text(other)} {metric.unit}'.strip()}, {verdict}"


def _equals(p: float) -> str:
    return p_text(p) if p < 0.001 else f"= {p_text(p)}"


def _scores(model: ReportedModel) -> str:
    """`Dice 0.873 ± 0.012, HD95 3.10 ± 0.25 mm and NSD 0.911 ± 0.010`."""
    parts = []
    for metric in METRICS:
        mean = mean_of_labels(model.metrics, metric.column)
        if not isfinite(mean.value) and metric is not DICE:
            continue
        error = f" ± {metric.text(mean.error)}" if isfinite(mean.error) else ""
        parts.append(f"{metric.name} {metric.text(mean.value)}{error} {metric.unit}".strip())
    return f"{', '.join(parts[:-1])} and {parts[-1]}" if len(parts) > 1 else parts[0]


def _best(students: Sequence[ReportedModel]) -> ReportedModel | None:
    scored = [student for student in students if isfinite(_mean(student, DICE))]
    return max(scored, key=lambda student: _mean(student, DICE)) if scored else None


def _mean(model: ReportedModel, metric: Metric) -> float:
    return mean_of_labels(model.metrics, metric.column).value


def _quoted(model: ReportedModel) -> str:
    return f"“{model.name}”"
