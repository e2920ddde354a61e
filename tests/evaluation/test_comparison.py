"""Paired comparison: SciPy's numbers, and a sentence where there is nothing to test."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from nndistill.errors import UserError
from nndistill.evaluation.comparison import compare
from nndistill.evaluation.paired_tests import holm


def frame(values, *, label="tumour", cases=None, metric="dice"):
    cases = cases or [f"c{k:02d}" for k in range(len(values))]
    return pd.DataFrame({"case": cases, "label": label, metric: values})


@pytest.fixture
def runs():
    random = np.random.default_rng(0)
    base = random.uniform(0.5, 0.9, 20)
    return base, base + random.normal(0.02, 0.03, 20), base + random.normal(0.05, 0.03, 20)


def test_statistics_are_those_of_scipy(runs):
    base, other, _ = runs
    row = compare(frame(base), {"other": frame(other)}).table.loc["other"]
    assert row["pairs"] == 20
    assert row["difference"] == pytest.approx((other - base).mean())
    assert (row["base"], row["other"]) == (pytest.approx(base.mean()), pytest.approx(other.mean()))
    assert row["t_p"] == pytest.approx(stats.ttest_rel(other, base).pvalue, rel=1e-9)
    assert row["wilcoxon_p"] == pytest.approx(stats.wilcoxon(other, base).pvalue, rel=1e-9)
    assert row["cohen_dz"] == pytest.approx(stats.ttest_rel(other, base).statistic / np.sqrt(20))
    ranks = stats.rankdata(np.abs(other - base))
    positive = ranks[other > base].sum()
    assert row["rank_biserial"] == pytest.approx((2 * positive - ranks.sum()) / ranks.sum())
    drawn = np.random.default_rng(1).choice(other - base, (20_000, 20)).mean(axis=1)
    assert [row["ci_low"], row["ci_high"]] == pytest.approx(np.percentile(drawn, [2.5, 97.5]), abs=2e-3)


def test_bootstrap_is_seeded(runs):
    base, other, _ = runs
    intervals = [
        tuple(compare(frame(base), {"o": frame(other)}, seed=seed).table.loc["o", ["ci_low", "ci_high"]])
        for seed in (0, 0, 1)
    ]
    assert intervals[0] == intervals[1] != intervals[2]


def test_holm_by_hand_and_with_a_missing_test():
    assert holm(np.array([0.01, 0.04, 0.03, 0.005])) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm(np.array([0.02, np.nan, 0.01])) == pytest.approx([0.02, np.nan, 0.02], nan_ok=True)
    assert list(holm(np.array([0.6, 0.7]))) == [1, 1]
    assert holm(np.array([np.nan])) == pytest.approx([np.nan], nan_ok=True)


def test_correction_is_over_the_runs_of_the_table(runs):
    base, other, third = runs
    comparison = compare(frame(base), {"a": frame(other), "b": frame(third)})
    for test in ("t_p", "wilcoxon_p"):
        assert list(comparison.table[f"{test}_holm"]) == pytest.approx(holm(comparison.table[test].to_numpy()))
    assert any("2 comparisons" in note for note in comparison.notes)


def test_case_is_the_mean_over_the_labels_that_its_own_run_has():
    base = pd.concat([frame([0.5, 0.7]), frame([0.1, np.nan], label="core")])
    other = pd.concat([frame([0.6, 0.8]), frame([0.4, 0.9], label="core")])
    comparison = compare(base, {"o": other})
    assert list(comparison.differences["o"]) == pytest.approx([(0.1 + 0.3) / 2, (0.8 + 0.9) / 2 - 0.7])
    comparison = compare(base, {"o": other}, label="core")
    assert list(comparison.differences["o"]) == pytest.approx([0.3])
    assert "o: left out, since dice of core is undefined in one of the two: c01." in comparison.notes


def test_false_positives_where_the_reference_is_empty_count_against_the_run():
    """No reference has the label core: the base predicts none, the other run always does."""
    whole = np.linspace(0.7, 0.9, 20)
    base = pd.concat([frame(whole, label="whole"), frame([np.nan] * 20, label="core")])
    other = pd.concat([frame(whole + 0.005, label="whole"), frame([0.0] * 20, label="core")])
    comparison = compare(base, {"o": other})
    row = comparison.table.loc["o"]
    assert (row["base"], row["other"]) == (pytest.approx(0.8), pytest.approx(0.805 / 2))
    assert row["difference"] == pytest.approx(0.4025 - 0.8)
    assert row["ci_high"] < 0
    assert row["t_p"] < 1e-9
    assert (row["only_base"], row["only_other"]) == (0, 20)
    assert any("20 values (case and label) of dice are defined in one run only" in note for note in comparison.notes)
    assert row["difference_of_labels"] == pytest.approx(0.4025 - 0.8)
    assert "o: core has no value in the base, whose mean of labels is over the others." in comparison.notes


def test_false_positives_in_cases_without_any_label_count_in_the_mean_of_labels_and_are_told():
    """With a single label, a case without it is no pair: one run has 0 there and the other no value."""
    base, other = frame([0.8] * 8 + [np.nan] * 2), frame([0.81] * 8 + [0.0] * 2)
    comparison = compare(base, {"o": other})
    row = comparison.table.loc["o"]
    assert row["difference"] > 0 > row["difference_of_labels"] == pytest.approx(0.81 * 8 / 10 - 0.8)
    assert row["only_other"] == 2
    assert any("differ in sign" in note for note in comparison.notes)
    scored = [run.fillna(1) for run in (base, other)]
    assert compare(scored[0], {"o": scored[1]}).table.loc["o", "difference"] == pytest.approx(0.008 - 0.2)


def test_values_in_one_run_only_are_counted_by_side_even_if_there_are_none():
    nan = np.nan
    base = pd.concat([frame([0.5, 0.6, 0.7]), frame([0.5, nan, 0.2], label="core")])
    other = pd.concat([frame([0.5, 0.6, 0.8]), frame([nan, 0.3, nan], label="core")])
    row = compare(base, {"o": other}).table.loc["o"]
    assert (row["only_base"], row["only_other"]) == (2, 1)
    assert list(compare(base, {"o": base}).table.loc["o", ["only_base", "only_other"]]) == [0, 0]


def test_mean_of_labels_beside_the_mean_of_cases():
    """By hand: labels (0.6, 0.6) and (0.7, 0.5); cases (0.7, 0.4) and (0.75, 0.55)."""
    base = pd.concat([frame([0.8, 0.4]), frame([0.6, np.nan], label="core")])
    other = pd.concat([frame([0.8, 0.6]), frame([0.7, 0.5], label="core")])
    row = compare(base, {"o": other}).table.loc["o"]
    assert [row["base_of_labels"], row["other_of_labels"]] == pytest.approx([0.6, (0.7 + 0.6) / 2])
    assert [row["base"], row["other"]] == pytest.approx([(0.7 + 0.4) / 2, (0.75 + 0.55) / 2])
    assert row["difference_of_labels"] == pytest.approx(0.05)


def test_interval_of_the_mean_of_labels_is_that_of_resampled_cases():
    random = np.random.default_rng(3)
    values = {label: random.uniform(0.4, 0.9, (2, 30)) for label in ("whole", "core")}
    values["core"][0, :10] = np.nan
    base, other = (pd.concat([frame(v[run], label=label) for label, v in values.items()]) for run in (0, 1))
    row = compare(base, {"o": other}).table.loc["o"]
    drawn = np.random.default_rng(1).integers(0, 30, (20_000, 30))
    means = np.mean([np.nanmean(v[:, drawn], axis=-1) for v in values.values()], axis=0)
    low, high = np.percentile(means[1] - means[0], [2.5, 97.5])
    assert [row["labels_ci_low"], row["labels_ci_high"]] == pytest.approx([low, high], abs=6e-3)


def test_means_that_differ_in_sign_are_told():
    base = pd.concat([frame([0.5, 0.5, 0.9]), frame([np.nan, np.nan, 0.1], label="core")])
    other = pd.concat([frame([0.6, 0.6, 0.9]), frame([np.nan, np.nan, 0.0], label="core")])
    comparison = compare(base, {"o": other})
    assert comparison.table.loc["o", "difference"] > 0 > comparison.table.loc["o", "difference_of_labels"]
    assert any("differ in sign" in note for note in comparison.notes)


def test_infinite_values_are_left_out_and_told():
    base = frame([1.0, 2.0, 3.0], metric="hd95_mm")
    other = frame([1.0, np.inf, 2.0], metric="hd95_mm")
    comparison = compare(base, {"o": other}, metric="hd95_mm")
    row = comparison.table.loc["o"]
    assert (row["pairs"], row["difference"]) == (2, -0.5)
    assert np.isfinite(row["other"])
    assert "o: 1 value of hd95_mm is infinite and left out like a missing one." in comparison.notes


def test_unpaired_cases_are_named_on_both_sides():
    base, other = frame([0.1, 0.2, 0.4], cases=["a", "b", "c"]), frame([0.2, 0.2, 0.1], cases=["b", "c", "d"])
    comparison = compare(base, {"o": other})
    assert list(comparison.differences.index) == ["b", "c"]
    assert "o: left out, since only in the base: a." in comparison.notes
    assert "o: left out, since only in o: d." in comparison.notes


@pytest.mark.parametrize("metric", ["dice", "hd95_mm"])
def test_gap_recovered_is_a_share_of_the_teacher_s_lead(metric):
    sign = -10 if metric == "hd95_mm" else 0.1
    values = np.array([1.0, 2.0, 3.0]) * abs(sign) + 50
    base, other, teacher = (frame(values + lead * sign, metric=metric) for lead in (0, 1, 4))
    comparison = compare(base, {"o": other}, metric=metric, teacher=teacher)
    assert comparison.table.loc["o", "gap_recovered"] == pytest.approx(0.25)
    comparison = compare(teacher, {"o": other}, metric=metric, teacher=base)
    assert np.isnan(comparison.table.loc["o", "gap_recovered"])
    assert any("no gap to recover" in note for note in comparison.notes)


def test_gap_is_over_the_pairs_of_the_difference():
    """The teacher has the case d as well, which is in neither mean of the row."""
    cases = ["a", "b", "c"]
    base, other = frame([0.5, 0.5, 0.5], cases=cases), frame([0.6, 0.6, 0.6], cases=cases)
    teacher = frame([0.9, 0.9, 0.9, 0.0], cases=[*cases, "d"])
    row = compare(base, {"o": other}, teacher=teacher).table.loc["o"]
    assert row["gap_recovered"] == pytest.approx(row["difference"] / 0.4)
    comparison = compare(base, {"o": other}, teacher=frame([0.9, np.nan, 0.9], cases=cases))
    assert np.isnan(comparison.table.loc["o", "gap_recovered"])
    assert any("no value of dice in 1 of the 3 cases (b)" in note for note in comparison.notes)


def test_who_gains_depends_on_the_metric_s_direction():
    values, change = np.zeros(5), np.array([-3.0, -1.0, 0.0, 2.0, 5.0])
    higher = compare(frame(values), {"o": frame(change)})
    gains, losses = higher.extremes("o", number=1)
    assert (gains.to_dict(), losses.to_dict()) == ({"c04": 5}, {"c00": -3})
    lower = compare(frame(values, metric="hd95_mm"), {"o": frame(change, metric="hd95_mm")}, metric="hd95_mm")
    gains, losses = lower.extremes("o", number=1)
    assert (gains.to_dict(), losses.to_dict()) == ({"c00": -3}, {"c04": 5})


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    ("differences", "sentence", "untested"),
    [
        ([0.0] * 8, "every case has exactly the value of the base", {"t_p", "wilcoxon_p", "ci_low", "cohen_dz"}),
        ([0.25] * 8, "all cases differ by the same amount", {"t_p", "ci_low", "cohen_dz"}),
        ([0.25], "1 pair is too few", {"t_p", "ci_low", "cohen_dz"}),
        ([0.1, 0.2, -0.1, 0.3, 0.4], "5 pairs are too few for a conclusion", set()),
        ([0.0, 0.25, 0.5, 0.75, 0.125, 0.3, 0.9], "1 of 7 cases do not differ at all", set()),
        ([0.25, 0.25, -0.25, 0.5, 0.75, 0.125, 0.9], "some differences are of equal size", set()),
    ],
)
def test_too_little_to_test_is_a_sentence_and_no_crash(differences, sentence, untested):
    base = np.arange(len(differences)) * 0.5
    comparison = compare(frame(base), {"o": frame(base + differences)})
    assert any(sentence in note for note in comparison.notes)
    row = comparison.table.loc["o"]
    tested = {"t_p", "wilcoxon_p", "ci_low", "cohen_dz"} - untested
    assert row[sorted(untested)].isna().all()
    assert row[sorted(tested)].notna().all()


def test_names_that_are_not_there_are_refused(runs):
    base, other = frame(runs[0]), frame(runs[1])
    with pytest.raises(UserError, match="the base: there is no metric 'dise'"):
        compare(base, {"o": other}, metric="dise")
    with pytest.raises(UserError, match="o: there is no metric 'nsd'"):
        compare(base.assign(nsd=1.0), {"o": other}, metric="nsd")
    with pytest.raises(UserError, match="there is no metric 'comment'"):
        compare(base.assign(comment="good"), {"o": other.assign(comment="bad")}, metric="comment")
    with pytest.raises(UserError, match="Did you mean 'tumour'"):
        compare(base, {"o": other}, label="tumor")
    with pytest.raises(UserError, match="no case has a value of dice"):
        compare(base, {"o": frame([0.1], cases=["other"])})


def both_labels(first, second):
    return pd.concat([frame([0.5, 0.7, 0.6], label=first), frame([0.4, 0.9, 0.8], label=second)])


@pytest.mark.parametrize(
    ("labels", "sentence"),
    [
        (("label 1", "core"), r"the base and o have different .*: only the base has whole and only o has label 1\. "),
        (("core", "core"), r"have different labels: only the base has whole\. Measure all runs with the same labels"),
    ],
)
def test_means_over_different_labels_are_refused(labels, sentence):
    base, other = both_labels("core", "whole"), both_labels(*labels).drop_duplicates(["case", "label"])
    with pytest.raises(UserError, match=sentence) as refused:
        compare(base, {"same": base, "o": other})
    assert refused.value.flags == ["--label"]
    with pytest.raises(UserError, match="the base and the teacher have different labels"):
        compare(base, {"same": base}, teacher=other)
    assert compare(base, {"o": other}, label="core", teacher=other).table.loc["o", "pairs"] == 3


def test_labels_in_another_order_are_the_same_labels():
    base, other = both_labels("core", "whole"), both_labels("core", "whole").iloc[::-1]
    assert compare(base, {"o": other}).table.loc["o", "difference"] == 0


# of seven patients with thirteen cases; every number from SciPy's plain functions on the means of patients
CHANGES = {"0": [0.02, 0.03, 0.04], "1": [0.01], "2": [-0.01, 0.0], "3": [0.05, 0.03], "4": [0.02]}
CHANGES |= {"5": [0.01, 0.01, -0.02], "6": [0.04]}
PATIENTS = {f"p{patient}-{k}": patient for patient, of_one in CHANGES.items() for k in range(len(of_one))}


@pytest.fixture
def examinations():
    """A base and another run on several examinations per patient."""
    base = frame(np.linspace(0.5, 0.8, 13), cases=list(PATIENTS))
    return base, base.assign(dice=base["dice"] + np.concatenate(list(CHANGES.values())))


def test_tests_and_interval_are_by_patient(examinations):
    base, other = examinations
    comparison = compare(base, {"o": other}, patients=PATIENTS)
    row = comparison.table.loc["o"]
    means = np.array([np.mean(of_one) for of_one in CHANGES.values()])
    assert (row["pairs"], row["patients"]) == (13, 7)
    assert row["difference"] == pytest.approx(0.0176923, abs=1e-7)
    assert row["t_p"] == pytest.approx(stats.ttest_1samp(means, 0).pvalue)
    assert row["t_p"] == pytest.approx(0.0320007, abs=1e-7)
    assert row["wilcoxon_p"] == pytest.approx(0.0625)
    assert row["cohen_dz"] == pytest.approx(means.mean() / means.std(ddof=1))
    assert [row["ci_low"], row["ci_high"]] == pytest.approx([0.0033, 0.0310], abs=1.5e-3)
    assert any(note.startswith("7 patients, 13 cases: intervals draw patients") for note in comparison.notes)
    as_if_independent = compare(base, {"o": other}).table.loc["o"]
    assert row["t_p"] > as_if_independent["t_p"] == pytest.approx(0.00892893, abs=1e-7)
    assert row["ci_high"] - row["ci_low"] > as_if_independent["ci_high"] - as_if_independent["ci_low"]


def test_patients_come_from_the_metrics_by_default(examinations):
    base, other = (run.assign(patient=run["case"].map(PATIENTS)) for run in examinations)
    row = compare(base, {"o": other}).table.loc["o"]
    pd.testing.assert_series_equal(row, compare(*[examinations[0], {"o": other}], patients=PATIENTS).table.loc["o"])


def test_with_one_case_per_patient_nothing_changes(runs):
    base, other = frame(runs[0]), frame(runs[1])
    plain = compare(base, {"o": other})
    by_patient = compare(base, {"o": other}, patients={case: f"patient of {case}" for case in base["case"]})
    columns = plain.table.columns.drop("patients")
    pd.testing.assert_frame_equal(plain.table[columns], by_patient.table[columns])
    assert plain.notes == by_patient.notes


def test_mean_of_labels_is_drawn_by_patient_too():
    """Twenty patients, two of each of whose cases are the same: drawing cases would find too narrow an interval."""
    random = np.random.default_rng(0)
    values = random.uniform(0.5, 0.9, (2, 2, 20))
    cases = [f"p{k:02d}-{n}" for n in range(3) for k in range(20)]
    base, other = (
        pd.concat([frame(np.tile(values[run, k], 3), label=name, cases=cases) for k, name in enumerate(("a", "b"))])
        for run in (0, 1)
    )
    alone = [run[run["case"].str.endswith("-0")] for run in (base, other)]
    expected = compare(alone[0], {"o": alone[1]}).table.loc["o", ["labels_ci_low", "labels_ci_high"]]
    found = compare(base, {"o": other}, patients={case: case[:3] for case in cases}).table.loc["o"]
    assert list(found[["labels_ci_low", "labels_ci_high"]]) == pytest.approx(list(expected))


def test_too_few_patients_are_counted_as_patients(examinations):
    base, other = (run[run["case"].isin([case for case in PATIENTS if case < "p3"])] for run in examinations)
    notes = compare(base, {"o": other}, patients=PATIENTS).notes
    assert any("o: 3 patients are too few for a conclusion" in note for note in notes)


def test_means_of_cases_and_patients_that_differ_in_sign_are_told():
    patients = {"a1": "a", "a2": "a", "a3": "a", "b": "b", "c": "c"}
    base = frame([0.5] * 5, cases=list(patients))
    other = base.assign(dice=[0.6, 0.6, 0.6, 0.4, 0.4])
    assert any("mean of patients (-0.0333)" in note for note in compare(base, {"o": other}, patients=patients).notes)


def test_a_table_that_lacks_cases_is_refused_and_metrics_that_do_are_told(examinations):
    base, other = examinations
    short = {case: patient for case, patient in PATIENTS.items() if patient != "6"}
    with pytest.raises(UserError, match="the table of patients lacks 1 of the cases: p6-0"):
        compare(base, {"o": other}, patients=short)
    base = base.assign(patient=base["case"].map(short))
    assert any("patient of p6-0 is not known" in note for note in compare(base, {"o": other}).notes)
