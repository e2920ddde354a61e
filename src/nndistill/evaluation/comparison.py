"""Paired comparison of runs: by how much they differ on the same cases, and whether it may be chance."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

from ..errors import UnknownName, UserError
from ..moved import names_from

LOWER_IS_BETTER = frozenset({"hd95_mm"})
ABSOLUTE = frozenset({"case", "label", "reference_voxels", "predicted_voxels", "reference_ml", "predicted_ml"})
FEWEST_PAIRS = 6
"""With fewer pairs, a two-sided Wilcoxon test cannot have p < 0.05: five pairs have 2 / 2⁵ = 0.0625 at best."""


@dataclass(frozen=True)
class Comparison:
    """What a paired comparison found.

    Args:
        table: One row per other run; columns:
            `pairs`: cases with a value in both; `base`, `other`: their means;
            `difference`: mean of other − base, `ci_low`, `ci_high`: its 95 % bootstrap interval;
            `t_p`, `wilcoxon_p`: p-values of the paired t-test and of Wilcoxon's signed-rank test, two-sided;
            `t_p_holm`, `wilcoxon_p_holm`: the same after Holm's correction over the rows;
            `cohen_dz`: mean over standard deviation of the differences; `rank_biserial`: the share of the rank sum
            of positive minus that of negative differences;
            `gap_recovered`: (other − base) / (teacher − base); NaN without a teacher.
        differences: other − base, one row per case and one column per other run; NaN if there is no pair.
        notes: What the reader of the table has to know, in sentences.
        lower_is_better: Whether a negative difference is a gain.
    """

    table: pd.DataFrame
    differences: pd.DataFrame
    notes: list[str]
    lower_is_better: bool

    def extremes(self, name: str, *, number: int = 3) -> tuple[pd.Series[float], pd.Series[float]]:
        """The differences of the cases that gain most and of those that lose most, the largest first."""
        gains = self.differences[name].dropna() * (-1 if self.lower_is_better else 1)
        best = gains[gains > 0].nlargest(number).index
        worst = gains[gains < 0].nsmallest(number).index
        return self.differences.loc[best, name], self.differences.loc[worst, name]


def compare(
    base: pd.DataFrame,
    others: Mapping[str, pd.DataFrame],
    *,
    metric: str = "dice",
    label: str | None = None,
    teacher: pd.DataFrame | None = None,
    seed: int = 0,
    resamples: int = 10_000,
) -> Comparison:
    """Compare runs with a base, on the cases they have in common.

    Args:
        base: Metrics of the run to compare with, as `read_metrics` returns them.
        others: Metrics of the other runs, by name.
        metric: The column to compare.
        label: A class or region; default: the mean over the labels of a case that have a value in both runs.
        teacher: Metrics of the teacher, to measure the share of its lead over the base that a run recovers.
        seed: Seed of the bootstrap.
        resamples: Number of resamples of the bootstrap.

    Raises:
        UserError: The metric or the label is not in the files, or no case is in both.

    Example:
        >>> cases = [f"case_{number}" for number in range(6)]
        >>> plain = pd.DataFrame({"case": cases, "label": "tumour", "dice": [0.6, 0.7, 0.8, 0.7, 0.6, 0.8]})
        >>> better = plain.assign(dice=plain["dice"] + [0.02, 0.04, 0.01, 0.03, 0.05, 0.06])
        >>> comparison = compare(plain, {"dcd": better})
        >>> f"{comparison.table.loc['dcd', 'difference']:+.3f}"
        '+0.035'
    """
    for name, frame in [("the base", base), *others.items(), ("the teacher", base if teacher is None else teacher)]:
        _check(frame, name, metric, label)
    notes: list[str] = []
    rows: dict[str, dict[str, float]] = {}
    differences: dict[str, pd.Series[float]] = {}
    for name, other in others.items():
        pairs = _pairs({"base": base, "other": other}, metric, label)
        if pairs.empty:
            raise UserError(f"no case has a value of {metric} both in the base and in {name}.")
        notes += _unpaired(base, other, pairs, metric, label, name)
        differences[name] = pairs["other"] - pairs["base"]
        changes = np.asarray(differences[name], np.float64)
        rows[name] = {"base": pairs["base"].mean(), "other": pairs["other"].mean(), "gap_recovered": np.nan}
        rows[name] |= _tests(changes, seed, resamples)
        if teacher is not None:
            rows[name]["gap_recovered"] = _gap_recovered(base, other, teacher, metric, label, name, notes)
        notes += _warnings(changes, name)
    table = pd.DataFrame.from_dict(rows, orient="index")
    for test in ("t_p", "wilcoxon_p"):
        table[f"{test}_holm"] = holm(table[test].to_numpy())
    if len(table) > 1:
        notes.append(f"Holm's correction is over the {len(table)} comparisons of this table.")
    ordered = ["pairs", "base", "other", "difference", "ci_low", "ci_high", "t_p", "t_p_holm", "wilcoxon_p"]
    table = table[[*ordered, "wilcoxon_p_holm", "cohen_dz", "rank_biserial", "gap_recovered"]]
    return Comparison(table.astype({"pairs": int}), pd.DataFrame(differences), notes, metric in LOWER_IS_BETTER)


def holm(p_values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Holm's step-down correction of several p-values; a NaN is not a test and stays NaN.

    Source:
        Holm, A simple sequentially rejective multiple test procedure, Scand. J. Statist. 6, 65-70 (1979).
    """
    order = np.argsort(p_values)[: np.count_nonzero(~np.isnan(p_values))]  # NaN is sorted to the end
    corrected = np.full(len(p_values), np.nan)
    corrected[order] = np.minimum(np.maximum.accumulate(p_values[order] * np.arange(len(order), 0, -1)), 1)
    return corrected


def _check(frame: pd.DataFrame, name: str, metric: str, label: str | None) -> None:
    metrics = set(frame.select_dtypes("number").columns) - ABSOLUTE
    if metric not in metrics:
        raise UserError(f"{name}: {UnknownName('metric', metric, metrics)}", option="metric")
    if label is not None and label not in set(frame["label"]):
        raise UserError(f"{name}: {UnknownName('label', label, frame['label'].unique())}", option="label")


def _pairs(runs: Mapping[str, pd.DataFrame], metric: str, label: str | None) -> pd.DataFrame:
    """One row per case and one column per run: values averaged over the labels that all runs have."""
    columns = {name: frame.set_index(["case", "label"])[metric] for name, frame in runs.items()}
    values = pd.concat(columns, axis=1).dropna()
    if label is not None:
        values = values[values.index.get_level_values("label") == label]
    return values.groupby(level="case").mean()


def _tests(differences: NDArray[np.float64], seed: int, resamples: int) -> dict[str, float]:
    n, mean = len(differences), float(differences.mean())
    spread = float(differences.std(ddof=1)) if n > 1 else np.nan
    found = {"pairs": n, "difference": mean, "ci_low": np.nan, "ci_high": np.nan}
    found |= {"t_p": np.nan, "wilcoxon_p": np.nan, "cohen_dz": np.nan, "rank_biserial": np.nan}
    if differences.any():
        found["wilcoxon_p"] = float(stats.wilcoxon(differences).pvalue)
        found["rank_biserial"] = _rank_biserial(differences)
    if _varies(differences):
        interval = stats.bootstrap(
            (differences,), np.mean, n_resamples=resamples, batch=1000, random_state=np.random.default_rng(seed)
        ).confidence_interval
        found |= {"ci_low": float(interval.low), "ci_high": float(interval.high)}
        found |= {"t_p": float(stats.ttest_1samp(differences, 0).pvalue), "cohen_dz": mean / spread}
    return found


def _varies(differences: NDArray[np.float64]) -> bool:
    """Whether there is any spread beyond rounding."""
    return bool(np.ptp(differences) > 1e-12 * max(1.0, np.abs(differences).max()))


def _rank_biserial(differences: NDArray[np.float64]) -> float:
    changed = differences[differences != 0]
    ranks = stats.rankdata(np.abs(changed))
    return float((ranks * np.sign(changed)).sum() / ranks.sum())


def _gap_recovered(
    base: pd.DataFrame,
    other: pd.DataFrame,
    teacher: pd.DataFrame,
    metric: str,
    label: str | None,
    name: str,
    notes: list[str],
) -> float:
    means = _pairs({"base": base, "other": other, "teacher": teacher}, metric, label).mean()
    gap = float(means["teacher"] - means["base"])
    if np.isnan(gap) or (gap if metric not in LOWER_IS_BETTER else -gap) <= 0:
        notes.append(f"{name}: the teacher is not better than the base on these cases, so there is no gap to recover.")
        return np.nan
    return float(means["other"] - means["base"]) / gap


def _unpaired(
    base: pd.DataFrame, other: pd.DataFrame, pairs: pd.DataFrame, metric: str, label: str | None, name: str
) -> list[str]:
    cases = set(base["case"]), set(other["case"])
    notes = [
        f"{name}: left out, since only in {where}: {', '.join(sorted(alone))}."
        for where, alone in (("the base", cases[0] - cases[1]), (name, cases[1] - cases[0]))
        if alone
    ]
    undefined = sorted((cases[0] & cases[1]) - set(pairs.index))
    if undefined:
        of = metric if label is None else f"{metric} of {label}"
        notes.append(f"{name}: left out, since {of} is undefined in one of the two: {', '.join(undefined)}.")
    return notes


def _warnings(differences: NDArray[np.float64], name: str) -> list[str]:
    n = len(differences)
    if not differences.any():
        return [f"{name}: every case has exactly the value of the base, so there is nothing to test."]
    notes = []
    if n < FEWEST_PAIRS:
        notes.append(
            f"{name}: {n} pair{'s are' if n > 1 else ' is'} too few for a conclusion: "
            f"with this number, the p of Wilcoxon's test is {2 / 2**n:.3g} or more."
        )
    if n > 1 and not _varies(differences):
        notes.append(f"{name}: all cases differ by the same amount; the t-test, d_z and the interval need a spread.")
    zeros = int(np.count_nonzero(differences == 0))
    if zeros:
        notes.append(f"{name}: {zeros} of {n} cases do not differ at all; Wilcoxon's test leaves them out.")
    sizes = np.abs(differences[differences != 0])
    if len(np.unique(sizes)) < len(sizes):
        notes.append(f"{name}: some differences are of equal size; Wilcoxon's test gives them their mean rank.")
    return notes


__getattr__ = names_from({"compare_metrics": "nndistill.evaluation.comparison:compare"}, old=__name__)
