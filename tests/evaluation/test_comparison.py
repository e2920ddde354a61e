"""Paired comparison: SciPy's numbers, and a sentence where there is nothing to test."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from nndistill.errors import UserError
from nndistill.evaluation.comparison import compare, holm


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


def test_case_is_the_mean_over_labels_that_both_runs_have():
    base = pd.concat([frame([0.5, 0.7]), frame([0.1, np.nan], label="core")])
    other = pd.concat([frame([0.6, 0.8]), frame([0.4, 0.9], label="core")])
    comparison = compare(base, {"o": other})
    assert list(comparison.differences["o"]) == pytest.approx([(0.1 + 0.3) / 2, 0.1])
    comparison = compare(base, {"o": other}, label="core")
    assert list(comparison.differences["o"]) == pytest.approx([0.3])
    assert "o: left out, since dice of core is undefined in one of the two: c01." in comparison.notes


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
