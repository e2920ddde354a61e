"""Sentences say what the numbers say."""

from __future__ import annotations

from dataclasses import replace

import pytest

from made_reports import metrics, three_models
from nndistill.evaluation.comparison import compare
from nndistill.reporting import ReportedModel
from nndistill.reporting.metrics import DICE, HD95
from nndistill.reporting.text.numbers import p_text
from nndistill.reporting.text.result_sentences import cautions, comparison_sentences, summary_sentences


def test_summary_names_teacher_and_best_student_and_what_is_saved() -> None:
    text = " ".join(summary_sentences(three_models()))
    assert "The teacher reaches Dice 0.892 ± 0.006" in text
    assert "The best student by Dice is “DCD <b>”" in text
    assert "16.0 times fewer parameters than the teacher and needs 10.0 times fewer" in text


def test_summary_of_a_lone_student_says_no_best() -> None:
    text = " ".join(summary_sentences([ReportedModel("S", metrics({"core": [0.5, 0.7]}))]))
    assert text.startswith("The student is “S” with Dice 0.600 ± 0.100, HD95 4.00 ± 1.00 mm and NSD")
    assert "teacher" not in text


def test_students_that_differ_in_the_seed_alone_have_no_best_one() -> None:
    teacher, alone, distilled = three_models()
    again = replace(alone, name="Alone, seed 1", metrics=distilled.metrics, repeats="Alone")

    text = " ".join(summary_sentences([teacher, alone, again]))
    assert "best student" not in text
    assert "“Alone” reaches Dice" in text
    assert "“Alone, seed 1” reaches Dice" in text
    assert "Each has 16.0 times fewer parameters than the teacher and needs 10.0 times fewer" in text
    said = (
        "“Alone” and “Alone, seed 1” differ in nothing but the seed: the difference between them is what a seed does."
    )
    assert said in text

    with_another = " ".join(summary_sentences([teacher, alone, again, distilled]))
    assert "best student" in with_another
    assert said in with_another
    assert "nothing but the seed" not in " ".join(summary_sentences(three_models()))


@pytest.mark.parametrize(
    ("metric", "base", "other", "verdict"),
    [
        (DICE, [0.5, 0.6, 0.7], [0.6, 0.7, 0.81], "0.600 → 0.703, 0.103 better"),
        (DICE, [0.5, 0.6, 0.7], [0.4, 0.5, 0.59], "0.600 → 0.497, 0.103 worse"),
        (HD95, [0.5, 0.6, 0.7], [0.6, 0.7, 0.81], "4.00 → 2.97 mm, 1.03 better"),
        (DICE, [0.5, 0.6], [0.5, 0.6], "0.550 → 0.550, the same"),
    ],
)
def test_verdict_knows_the_direction(metric, base, other, verdict) -> None:
    comparison = compare(metrics({"core": base}), {"X": metrics({"core": other})}, metric=metric.column)
    sentence = comparison_sentences(comparison, metric)[0]
    assert sentence.startswith(f"X: {verdict} on average over {len(base)} cases")


def test_interval_p_and_gap_are_those_of_the_table() -> None:
    teacher, alone, other = three_models()
    comparison = compare(alone.metrics, {"X": other.metrics}, teacher=teacher.metrics)
    row = comparison.table.loc["X"]
    sentence = comparison_sentences(comparison, DICE)[0]
    assert f"+{row['ci_low']:.3f} to +{row['ci_high']:.3f}, which excludes zero" in sentence
    assert f"Wilcoxon p = {row['wilcoxon_p']:.3f}" in sentence
    assert f"recovers {100 * row['gap_recovered']:.0f} % of the gap" in sentence
    assert "Holm" not in sentence


@pytest.mark.parametrize(("pairs", "concludes"), [(2, False), (5, False), (6, True)])
def test_so_few_pairs_that_wilcoxon_cannot_show_anything_allow_no_conclusion(pairs: int, concludes: bool) -> None:
    """Five differences of one sign have p = 2 / 2⁵ = 0.0625 at best, though their interval excludes zero."""
    base = [0.5 + 0.01 * number for number in range(pairs)]
    other = [dice + 0.1 + 0.001 * number for number, dice in enumerate(base)]
    comparison = compare(metrics({"core": base}), {"X": metrics({"core": other})})
    assert comparison.table.loc["X", "ci_low"] > 0
    assert (comparison.table.loc["X", "wilcoxon_p"] < 0.05) == concludes
    sentence = comparison_sentences(comparison, DICE)[0]
    assert ("which excludes zero" in sentence) == concludes
    assert (f"; {pairs} cases are too few for a conclusion)" in sentence) != concludes


def test_cases_of_few_patients_are_few() -> None:
    base, other = (
        metrics({"core": [0.5 + 0.01 * n for n in range(8)]}),
        metrics({"core": [0.7 - 0.02 * n for n in range(8)]}),
    )
    patients = {str(case): f"p{number // 2}" for number, case in enumerate(base["case"])}
    sentence = comparison_sentences(compare(base, {"X": other}, patients=patients), DICE)[0]
    assert "; 4 patients are too few for a conclusion)" in sentence


def test_both_means_are_said_if_they_differ() -> None:
    nan = float("nan")
    base = metrics({"core": [0.8, 0.4], "rim": [0.6, nan]})
    other = metrics({"core": [0.8, 0.6], "rim": [0.7, 0.5]})
    sentence = comparison_sentences(compare(base, {"X": other}), DICE)[0]
    assert sentence.startswith("X: 0.550 → 0.650, 0.100 better on average over 2 cases")
    assert sentence.endswith("that is the mean of cases, and the mean of labels is 0.600 → 0.650, 0.050 better.")


def test_correction_is_said_where_there_is_one() -> None:
    teacher, alone, other = three_models()
    comparison = compare(alone.metrics, {"X": other.metrics, "T": teacher.metrics})
    assert all("after Holm's correction" in sentence for sentence in comparison_sentences(comparison, DICE))


def test_a_caution_is_given_once_and_names_its_measures_unless_it_is_of_all() -> None:
    base, other = metrics({"core": [0.5, 0.6]}), metrics({"core": [0.6, 0.8]})
    both = {m: compare(base, {"X": other}, metric=m.column) for m in (DICE, HD95)}
    assert cautions(both) == both[DICE].notes
    both[DICE].notes.append("Only here.")
    assert cautions(both)[-1] == "Only here (Dice)."


@pytest.mark.parametrize(("p", "text"), [(0.0234, "0.023"), (0.0004, "< 0.001"), (1.0, "1.000"), (float("nan"), "–")])
def test_p_is_written_as_papers_do(p: float, text: str) -> None:
    assert p_text(p) == text
