"""Differences over patients and seeds, against plain loops and SciPy's own tests."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from nndistill.study.statistics import difference, differences_of_rows


def table(values: list[list[float]]) -> pd.DataFrame:
    return pd.DataFrame(values, index=[f"p{number}" for number in range(len(values))])


def noise(patients: int, seeds: int, *, between_patients: float, between_seeds: float) -> pd.DataFrame:
    random = np.random.default_rng(0)
    of_patients = random.normal(0, between_patients, (patients, 1))
    of_seeds = random.normal(0, between_seeds, (1, seeds))
    return table((of_patients + of_seeds + random.normal(0, 0.001, (patients, seeds))).tolist())


def test_hand_calculation() -> None:
    base = table([[0.5, 0.6], [0.7, 0.7], [0.6, 0.5]])
    other = table([[0.6, 0.7], [0.7, 0.8], [0.7, 0.7]])

    found = difference(base, other)

    assert found is not None
    assert found.difference == pytest.approx((0.1 + 0.05 + 0.15) / 3)
    assert found.base == pytest.approx(0.6)
    assert found.spread == pytest.approx(np.std([0.2 / 3, 0.4 / 3], ddof=1))
    assert (found.patients, found.seeds, found.seeds_in_favour) == (3, 2, 2)
    assert found.p_seeds == pytest.approx(stats.ttest_1samp([0.2 / 3, 0.4 / 3], 0).pvalue)
    assert found.p_patients == pytest.approx(stats.wilcoxon([0.1, 0.05, 0.15]).pvalue)


def test_interval_equals_a_plain_bootstrap() -> None:
    matrix = noise(7, 3, between_patients=0.05, between_seeds=0.05)
    random = np.random.default_rng(1)
    means = []
    for _ in range(4000):
        rows, columns = random.integers(0, 7, 7), random.integers(0, 3, 3)
        means.append(matrix.to_numpy()[np.ix_(rows, columns)].mean())

    found = difference(matrix * 0, matrix)

    assert found is not None
    assert [found.low, found.high] == pytest.approx(np.percentile(means, [2.5, 97.5]), abs=0.006)


def test_seeds_that_disagree_widen_the_interval_and_not_the_test_over_patients() -> None:
    """A method that helps every patient with one seed only: significant over patients, and yet not shown."""
    base = table([[0.5, 0.5]] * 20)
    other = base + np.array([[0.10, -0.02]]) + np.linspace(0, 0.001, 20)[:, None]

    found = difference(base, other)

    assert found is not None
    assert found.p_patients < 0.001
    assert found.p_seeds > 0.3
    assert found.low < 0 < found.high
    assert found.seeds_in_favour == 1


def test_one_seed_has_no_test_over_seeds() -> None:
    found = difference(table([[0.5], [0.6]]), table([[0.6], [0.8]]))

    assert found is not None
    assert np.isnan(found.p_seeds)
    assert np.isnan(found.spread)


def test_values_missing_in_one_row_are_left_out() -> None:
    base, other = table([[0.5, np.nan], [0.6, 0.6]]), table([[0.7, 0.9], [np.nan, 0.7]])

    found = difference(base, other)

    assert found is not None
    assert found.difference == pytest.approx((0.2 + 0.1) / 2)


def test_rows_without_common_patients_are_not_compared() -> None:
    assert difference(table([[0.5]]), table([[0.5]]).rename(index={"p0": "other"})) is None


@given(st.lists(st.floats(-0.2, 0.2), min_size=6, max_size=6), st.floats(0.1, 0.9))
def test_exchanging_the_rows_changes_the_sign(values: list[float], level: float) -> None:
    base = table([[level] * 2] * 3)
    other = base + np.reshape(values, (3, 2))

    forth, back = difference(base, other, resamples=200), difference(other, base, resamples=200)

    assert forth is not None
    assert back is not None
    assert forth.difference == pytest.approx(-back.difference)
    assert forth.low == pytest.approx(-back.high, abs=1e-12)


def test_rows_are_paired_by_seed_and_every_patient_counts_the_same() -> None:
    def row(dice: dict[tuple[str, str, int], float]) -> pd.DataFrame:
        return pd.DataFrame(
            [
                {"case": case, "label": label, "patient": patient, "seed": seed, "fold": 0, "dice": value}
                for (patient, case, seed), value in dice.items()
                for label in ("core", "rim")
            ]
        )

    base = {("a", "a1", 0): 0.5, ("a", "a2", 0): 0.5, ("b", "b1", 0): 0.5, ("a", "a1", 1): 0.1}
    other = {("a", "a1", 0): 0.6, ("a", "a2", 0): 0.8, ("b", "b1", 0): 0.5, ("a", "a1", 2): 0.9}

    found = differences_of_rows({"none": row(base), "dcd": row(other)}, "none", "dice")

    assert found.loc["dcd", "difference"] == pytest.approx((0.2 + 0.0) / 2)
    assert found.loc["dcd", "seeds"] == 1
    assert found.loc["dcd", "patients"] == 2


def rows_with(dice: dict[tuple[str, int, int], float]) -> pd.DataFrame:
    """Metrics of one label in one case per patient, by patient, fold and seed."""
    return pd.DataFrame(
        [
            {"case": patient, "label": "rim", "patient": patient, "fold": fold, "seed": seed, "dice": value}
            for (patient, fold, seed), value in dice.items()
        ]
    )


def test_a_seed_that_lacks_folds_is_left_out() -> None:
    """Its patients are others than those of the complete seeds, so it would mix a seed with a choice of patients."""
    patients = {(f"p{number}", number % 2): number / 10 for number in range(6)}
    base = rows_with({(*key, seed): 0.1 for key in patients for seed in (0, 1, 2)})
    other = rows_with({(*key, seed): 0.1 + gain for key, gain in patients.items() for seed in (0, 1)})
    some = rows_with({(*key, 2): 0.9 for key in patients if key[1] == 0})

    alone = differences_of_rows({"none": base, "dcd": other}, "none", "dice")
    with_some = differences_of_rows({"none": base, "dcd": pd.concat([other, some])}, "none", "dice")

    assert alone.loc["dcd", "seeds"] == 2
    pd.testing.assert_frame_equal(alone, with_some)


def test_folds_that_one_row_lacks_are_left_out_of_both() -> None:
    """Test cases are predicted in every fold: a mean of two networks is not compared with one of them."""
    base = rows_with({("a", 0, 0): 0.5, ("a", 1, 0): 0.9, ("b", 0, 0): 0.6, ("b", 1, 0): 0.8})
    other = rows_with({("a", 0, 0): 0.6, ("b", 0, 0): 0.8})

    found = differences_of_rows({"none": base, "dcd": other}, "none", "dice")

    assert found.loc["dcd", "base"] == pytest.approx(0.55)
    assert found.loc["dcd", "difference"] == pytest.approx((0.1 + 0.2) / 2)


def test_a_case_without_a_value_in_one_row_is_left_out_of_both() -> None:
    base = rows_with({("a", 0, 0): 0.5, ("b", 0, 0): np.nan})
    other = rows_with({("a", 0, 0): 0.6, ("b", 0, 0): 0.8})

    found = differences_of_rows({"none": base, "dcd": other}, "none", "dice")

    assert found.loc["dcd", "patients"] == 1
    assert found.loc["dcd", "difference"] == pytest.approx(0.1)


def test_interval_and_difference_are_of_one_statistic_where_a_patient_lacks_a_seed() -> None:
    """The bootstrap around the mean of patients, with any patient drawn as often as any other."""
    matrix = noise(7, 3, between_patients=0.05, between_seeds=0.05)
    matrix.iloc[0, 1] = matrix.iloc[4, 0] = matrix.iloc[4, 2] = np.nan
    random = np.random.default_rng(1)
    means = []
    for _ in range(4000):
        drawn = matrix.to_numpy()[np.ix_(random.integers(0, 7, 7), random.integers(0, 3, 3))]
        means.append(np.nanmean(np.nanmean(drawn[~np.isnan(drawn).all(axis=1)], axis=1)))

    found = difference(matrix * 0, matrix)

    assert found is not None
    assert found.difference == pytest.approx(matrix.mean(axis=1).mean())
    assert [found.low, found.high] == pytest.approx(np.percentile(means, [2.5, 97.5]), abs=0.006)


@pytest.mark.parametrize(("seeds", "least", "most"), [(2, 0.15, 0.35), (3, 0.12, 0.3), (20, 0.0, 0.1)])
def test_intervals_of_few_seeds_are_too_narrow(seeds: int, least: float, most: float) -> None:
    """How often an interval excludes zero where seeds differ as in `studies/subcortical`, and rows do not."""
    random = np.random.default_rng(seeds)
    excluded = []
    for _ in range(300):
        noise = (
            random.normal(0, 0.03, (1, seeds)) + random.normal(0, 0.02, (20, 1)) + random.normal(0, 0.03, (20, seeds))
        )
        found = difference(table((noise * 0).tolist()), table(noise.tolist()), resamples=400)
        assert found is not None
        excluded.append(not found.low <= 0 <= found.high)

    assert least < np.mean(excluded) < most


def test_values_of_one_row_alone_are_counted() -> None:
    base = rows_with({("a", 0, 0): 0.5, ("b", 0, 0): np.nan, ("c", 0, 0): 0.4, ("d", 0, 1): np.nan})
    other = rows_with({("a", 0, 0): np.inf, ("b", 0, 0): 0.6, ("c", 0, 0): 0.4, ("e", 0, 0): 0.1})

    found = differences_of_rows({"none": base, "dcd": other}, "none", "dice")

    assert found.loc["dcd", "only_base"] == 1
    assert found.loc["dcd", "only_other"] == 1
