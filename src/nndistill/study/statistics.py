r"""Is it the method or the seed? Differences between two rows of a study, over cases, patients, seeds and folds.

A row has one value per case and training, a training being one seed in one fold. With validation cases, a case is in
one fold; with test cases, every training predicts every case. Rows are compared case by case and training by training,
since two trainings with the same seed in the same fold saw the same batches. A seed counts once both rows have all
folds with it: a seed of some folds has other patients than the others.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

from ..evaluation.aggregates import finite
from ..evaluation.paired_tests import holm

RESAMPLES = 10_000


@dataclass(frozen=True)
class StudyDifference:
    """A row minus the row it is compared with, in one metric.

    Args:
        base: Mean of the other row over the same cases and trainings.
        difference: Mean of the differences; every patient counts the same.
        low: Lower end of its 95 % interval, for new patients and new seeds; with one seed, for new patients alone.
        high: Upper end; both are NaN with one patient and one seed.
        p_patients: Wilcoxon's signed-rank test over patients, each the mean of its cases and seeds: is the difference
            there in new patients, with these very trainings?
        p_seeds: t-test over seeds, each the mean of its patients: would it be there with other seeds? NaN with one
            seed.
        seeds: Number of seeds.
        seeds_in_favour: Number of seeds whose mean difference has the sign of `difference`.
        patients: Number of patients.
        spread: Standard deviation of the difference between seeds; NaN with one seed.
    """

    base: float
    difference: float
    low: float
    high: float
    p_patients: float
    p_seeds: float
    seeds: int
    seeds_in_favour: int
    patients: int
    spread: float


def differences_of_rows(
    rows: Mapping[str, pd.DataFrame], base: str, metric: str, *, resamples: int = RESAMPLES
) -> pd.DataFrame:
    """Compare every row with one of them; by row, the fields of `StudyDifference`, p-values after Holm, and two counts.

    `only_base` is the number of values (case, label, seed and fold) that only the base has, `only_other` of those that
    only the compared row has: each row is averaged over its own.

    Args:
        rows: Metrics of each row, all trainings together, with the columns `case`, `label`, `patient`, `seed`, `fold`
            and the metrics.
        base: Name of the row to compare with.
        metric: The column to compare.
        resamples: Resamples of the bootstrap.
    """
    found = {}
    for name, frame in rows.items():
        if name == base:
            continue
        if compared := difference(*_paired(rows[base], frame, metric), resamples=resamples):
            only_base, only_other = _of_one_row(rows[base], frame, metric)
            found[name] = {**vars(compared), "only_base": only_base, "only_other": only_other}
    table = pd.DataFrame.from_dict(found, orient="index")
    for test in ("p_patients", "p_seeds"):
        if test in table:
            table[f"{test}_holm"] = holm(table[test].to_numpy(np.float64))
    return table


def difference(base: pd.DataFrame, other: pd.DataFrame, *, resamples: int = RESAMPLES) -> StudyDifference | None:
    """Compare two tables with one row per patient and one column per seed; `None` if they have nothing in common.

    The interval is that of a bootstrap that draws patients and seeds, each with replacement and independently of the
    other: they are crossed, since every seed's networks predict every patient (Owen, The pigeonhole bootstrap, Ann.
    Appl. Stat. 1, 386-411, 2007).

    Example:
        >>> base = pd.DataFrame([[0.5, 0.6], [0.7, 0.7], [0.6, 0.5]], index=["a", "b", "c"], columns=[0, 1])
        >>> found = difference(base, base + np.array([[0.1, 0.1], [0.0, 0.1], [0.1, 0.2]]))
        >>> f"{found.difference:.2f}, {found.seeds_in_favour} of {found.seeds} seeds"
        '0.10, 2 of 2 seeds'
    """
    differences = (other - base).dropna(how="all").dropna(how="all", axis="columns")
    if differences.empty:
        return None
    matrix = differences.to_numpy(np.float64)
    first = base.reindex_like(differences).where(differences.notna()).to_numpy(np.float64)
    of_patients, of_seeds = np.nanmean(matrix, axis=1), np.nanmean(matrix, axis=0)
    mean = float(of_patients.mean())
    low, high = _crossed_bootstrap(matrix, resamples)
    several = len(of_seeds) > 1
    return StudyDifference(
        base=float(np.nanmean(first, axis=1).mean()),
        difference=mean,
        low=low,
        high=high,
        p_patients=_wilcoxon(of_patients),
        p_seeds=float(stats.ttest_1samp(of_seeds, 0).pvalue) if several and np.ptp(of_seeds) > 0 else np.nan,
        seeds=len(of_seeds),
        seeds_in_favour=int((np.sign(of_seeds) == np.sign(mean)).sum()),
        patients=len(matrix),
        spread=float(of_seeds.std(ddof=1)) if several else np.nan,
    )


def _paired(base: pd.DataFrame, other: pd.DataFrame, metric: str) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Both rows by patient and seed: means over labels, then over the cases and folds in which both have a value."""
    seeds = _complete_seeds(base, other)
    first, second = (_by_case(frame[frame["seed"].isin(seeds)], metric) for frame in (base, other))
    cases = first.dropna().index.intersection(second.dropna().index)
    one, two = (values[cases].groupby(["patient", "seed"]).mean().unstack("seed") for values in (first, second))
    return one, two


def _of_one_row(base: pd.DataFrame, other: pd.DataFrame, metric: str) -> tuple[int, int]:
    """How many values only the first row has, and only the second, of the seeds and cases that both have."""
    keys = ["case", "label", "seed", "fold"]
    seeds = _complete_seeds(base, other)
    one, two = (
        finite(frame[metric]).set_axis(pd.MultiIndex.from_frame(frame[keys]))[frame["seed"].isin(seeds).to_numpy()]
        for frame in (base, other)
    )
    common = one.index.intersection(two.index)
    has_one, has_two = one[common].notna(), two[common].notna()
    return int((has_one & ~has_two).sum()), int((has_two & ~has_one).sum())


def _complete_seeds(base: pd.DataFrame, other: pd.DataFrame) -> list[int]:
    """The seeds with which both rows have all folds that they have with any."""
    trainings = [set(zip(frame["seed"], frame["fold"], strict=True)) for frame in (base, other)]
    folds: dict[int, set[int]] = {}
    for seed, fold in sorted(set.intersection(*trainings)):
        folds.setdefault(seed, set()).add(fold)
    most = max(folds.values(), key=len, default=set())
    return [seed for seed, of_seed in folds.items() if of_seed >= most]


def _by_case(frame: pd.DataFrame, metric: str) -> pd.Series[float]:
    """Mean over labels, of every case in every training."""
    keys = [frame[key] for key in ("patient", "case", "seed", "fold")]
    return finite(frame[metric]).groupby(keys).mean()


def _crossed_bootstrap(matrix: NDArray[np.float64], resamples: int) -> tuple[float, float]:
    """The 95 % percentile interval of the mean over patients under drawn patients (rows) and seeds (columns)."""
    if matrix.size < 2:
        return np.nan, np.nan
    random = np.random.default_rng(0)
    patients, seeds = matrix.shape
    drawn_patients = random.multinomial(patients, np.full(patients, 1 / patients), resamples)
    drawn_seeds = random.multinomial(seeds, np.full(seeds, 1 / seeds), resamples)
    counts = drawn_seeds @ ~np.isnan(matrix.T)
    defined = counts > 0
    of_patients = np.divide(drawn_seeds @ np.nan_to_num(matrix.T), counts, out=np.zeros(counts.shape), where=defined)
    weights = drawn_patients * defined
    weights, of_patients = (each[weights.any(axis=1)] for each in (weights, of_patients))
    means = np.average(of_patients, axis=1, weights=weights)
    low, high = np.percentile(means, [2.5, 97.5])
    return float(low), float(high)


def _wilcoxon(differences: NDArray[np.float64]) -> float:
    rounded = np.round(differences, 12)  # rounding errors are no differences
    return float(stats.wilcoxon(rounded).pvalue) if rounded.any() else np.nan
