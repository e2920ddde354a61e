"""Differences that are equal up to rounding are ties for Wilcoxon's test."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from nndistill.evaluation.comparison import compare
from nndistill.evaluation.paired_tests import tied

TENTHS = [31, 22, 40, 55, 29, 33, 17, 12]
OTHERS = [29, 20, 39, 54, 28, 30, 19, 12]


def metrics(tenths: list[int]) -> pd.DataFrame:
    cases = [f"c{number}" for number in range(len(tenths))]
    return pd.DataFrame({"case": cases, "label": "lesion", "hd95_mm": np.array(tenths) / 10})


def test_wilcoxon_sees_the_ties_of_the_values_that_were_measured():
    table = compare(metrics(TENTHS), {"o": metrics(OTHERS)}, metric="hd95_mm", resamples=50).table
    whole = np.subtract(OTHERS, TENTHS)
    assert len({abs(d) for d in np.subtract(np.array(OTHERS) / 10, np.array(TENTHS) / 10)}) > len(set(abs(whole)))
    assert table.loc["o", "wilcoxon_p"] == pytest.approx(stats.wilcoxon(whole).pvalue, abs=1e-12)
    ranks = stats.rankdata(abs(whole[whole != 0]))
    expected = (ranks * np.sign(whole[whole != 0])).sum() / ranks.sum()
    assert table.loc["o", "rank_biserial"] == pytest.approx(expected)


def test_values_that_differ_by_rounding_do_not_differ():
    base = metrics([3] * 7)
    other = base.assign(hd95_mm=0.1 + 0.2)
    notes = compare(base, {"o": other}, metric="hd95_mm", resamples=50).notes
    assert any("every case has exactly the value of the base" in note for note in notes)


@settings(max_examples=50)
@given(st.lists(st.integers(-9, 9), min_size=1, max_size=20), st.sampled_from([0.1, 1 / 3, 7e-4, 1e4]))
def test_sizes_are_equal_exactly_where_they_are_equal_up_to_rounding(whole, unit):
    noise = 1 + np.linspace(-1, 1, len(whole)) * 2e-16
    made = tied(np.array(whole) * unit * noise, 9 * unit)
    sizes, expected = np.abs(made), np.abs(whole)
    assert np.array_equal(sizes[:, None] == sizes, expected[:, None] == expected)
    np.testing.assert_array_equal(made == 0, np.array(whole) == 0)
    np.testing.assert_allclose(made, np.array(whole) * unit, rtol=1e-12)


def test_an_infinite_value_is_told_with_its_case():
    base = metrics(TENTHS)
    other = metrics(OTHERS)
    other.loc[2, "hd95_mm"] = np.inf
    assert "o: hd95_mm is infinite in c2 (lesion)." in compare(base, {"o": other}, metric="hd95_mm", resamples=50).notes
