"""Whether the differences of pairs may be chance: tests, effects, bootstrap intervals, and ties up to rounding."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

from .paired_units import Units

ROUNDING = 1e-12
"""Relative size of what counts as rounding in a difference of two values."""


def paired_tests(
    differences: pd.Series[float], by_unit: NDArray[np.float64], units: Units, seed: int, resamples: int
) -> dict[str, float]:
    """The columns of a comparison that say whether the differences may be chance.

    Args:
        differences: One per case.
        by_unit: The same per unit, with ties made equal.
        units: Cases, or patients.
        seed: Seed of the bootstrap.
        resamples: Number of resamples of the bootstrap.
    """
    found = {"difference": float(differences.mean()), "ci_low": np.nan, "ci_high": np.nan}
    found |= {"t_p": np.nan, "wilcoxon_p": np.nan, "cohen_dz": np.nan, "rank_biserial": np.nan}
    if by_unit.any():
        found["wilcoxon_p"] = float(stats.wilcoxon(by_unit).pvalue)
        found["rank_biserial"] = _rank_biserial(by_unit)
    if varies(by_unit):
        sums, sizes = units.sums(np.asarray(differences, np.float64)), units.sizes
        found["ci_low"], found["ci_high"] = bootstrap_interval(
            lambda drawn: sums[drawn].sum(axis=-1) / sizes[drawn].sum(axis=-1), units.number, seed, resamples
        )
        found["t_p"] = float(stats.ttest_1samp(by_unit, 0).pvalue)
        found["cohen_dz"] = float(by_unit.mean() / by_unit.std(ddof=1))
    return found


def holm(p_values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Holm's step-down correction of several p-values; a NaN is not a test and stays NaN.

    Source:
        Holm, A simple sequentially rejective multiple test procedure, Scand. J. Statist. 6, 65-70 (1979).
    """
    order = np.argsort(p_values)[: np.count_nonzero(~np.isnan(p_values))]  # NaN is sorted to the end
    corrected = np.full(len(p_values), np.nan)
    corrected[order] = np.minimum(np.maximum.accumulate(p_values[order] * np.arange(len(order), 0, -1)), 1)
    return corrected


def tied(differences: NDArray[np.float64], scale: float) -> NDArray[np.float64]:
    """Differences whose sizes are equal up to rounding made equal, and zero if they are that small.

    The difference of two values is rounded by up to `scale` times the precision of a float, so 0.3 − 0.2 and 0.2 − 0.1
    are no tie to Wilcoxon's test, though the values that were measured are.

    Args:
        differences: One per case or patient.
        scale: The largest of the values that were subtracted.
    """
    sizes = np.abs(differences)
    order = np.argsort(sizes)
    steps = np.diff(sizes[order], prepend=0.0) > ROUNDING * max(scale, np.finfo(np.float64).tiny)
    first = np.maximum.accumulate(np.where(steps, np.arange(len(sizes)), -1))
    tied = np.empty_like(sizes)
    tied[order] = np.where(first < 0, 0.0, sizes[order][first])
    return np.asarray(np.copysign(tied, differences))


def bootstrap_interval(
    statistic: Callable[[NDArray[np.intp]], NDArray[np.float64]], number: int, seed: int, resamples: int
) -> tuple[float, float]:
    """BCa bootstrap interval of a statistic of `number` units, which takes the indices of drawn units `(…, number)`."""
    interval = stats.bootstrap(
        (np.arange(number),),
        lambda drawn, axis: statistic(drawn),
        n_resamples=resamples,
        batch=500,
        vectorized=True,
        random_state=np.random.default_rng(seed),
    ).confidence_interval
    return float(interval.low), float(interval.high)


def varies(differences: NDArray[np.float64]) -> bool:
    """Whether there is any spread beyond rounding."""
    return bool(np.ptp(differences) > ROUNDING * max(1.0, np.abs(differences).max()))


def _rank_biserial(differences: NDArray[np.float64]) -> float:
    changed = differences[differences != 0]
    ranks = stats.rankdata(np.abs(changed))
    return float((ranks * np.sign(changed)).sum() / ranks.sum())
