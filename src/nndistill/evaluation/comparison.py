"""Paired comparison of runs: by how much they differ on the same cases, and whether it may be chance."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

from ..errors import UnknownName, UserError
from ..moved import names_from
from .aggregates import by_case_and_label
from .patients import check_patients

LOWER_IS_BETTER = frozenset({"hd95_mm", "whole_hd95_mm", "lesions_missed", "lesions_false"})
ABSOLUTE = frozenset({"case", "label", "reference_voxels", "predicted_voxels", "reference_ml", "predicted_ml"})
FEW_PATIENTS = 15
"""With fewer patients, a bootstrap over patients gives intervals that are too narrow."""
ROUNDING = 1e-12
"""Relative size of what counts as rounding in a difference of two values."""
FEWEST_PAIRS = 6
"""With fewer pairs, a two-sided Wilcoxon test cannot have p < 0.05: five pairs have 2 / 2⁵ = 0.0625 at best."""


_COLUMNS = (
    *("pairs", "patients", "base", "other", "difference", "ci_low", "ci_high"),
    *("base_of_labels", "other_of_labels", "difference_of_labels", "labels_ci_low", "labels_ci_high"),
    *("only_base", "only_other", "t_p", "t_p_holm", "wilcoxon_p", "wilcoxon_p_holm"),
    *("cohen_dz", "rank_biserial", "gap_recovered"),
)


@dataclass(frozen=True)
class Comparison:
    """What a paired comparison found.

    Args:
        table: One row per other run; columns:
            `pairs`: cases with a value in both, each the mean over the labels that are defined in its own run;
            `patients`: patients they belong to; NaN if it is not known;
            `base`, `other`: the means of these cases;
            `difference`: mean of other − base, `ci_low`, `ci_high`: its 95 % bootstrap interval;
            `base_of_labels`, `other_of_labels`, `difference_of_labels`, `labels_ci_low`, `labels_ci_high`: the same
            for the mean of labels, over the cases in both files and, in each run, its own defined labels;
            `only_base`, `only_other`: values (case and label) that are defined in one of the two runs only;
            `t_p`, `wilcoxon_p`: p-values of the paired t-test and of Wilcoxon's signed-rank test, two-sided, over
            the means of the cases or, if some patients have several, over the means of the patients;
            `t_p_holm`, `wilcoxon_p_holm`: the same after Holm's correction over the rows;
            `cohen_dz`: mean over standard deviation of the differences; `rank_biserial`: the share of the rank sum
            of positive minus that of negative differences;
            `gap_recovered`: `difference` / (teacher − base) over the same cases; NaN without a teacher.
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
    patients: Mapping[str, str] | None = None,
    seed: int = 0,
    resamples: int = 10_000,
) -> Comparison:
    """Compare runs with a base, on the cases they have in common.

    Each run is averaged over its own defined labels. If only labels that both runs have counted, a run that predicts
    a label where the reference has none would lose nothing: it scores 0 there, and one that predicts nothing has no
    value.

    Args:
        base: Metrics of the run to compare with, as `read_metrics` returns them.
        others: Metrics of the other runs, by name.
        metric: The column to compare.
        label: A class or region; default: all labels.
        teacher: Metrics of the teacher, to measure the share of its lead over the base that a run recovers.
        patients: The patient of each case; default: the column `patient` of the metrics, where they have it. Cases of
            one patient are drawn together by the bootstrap, and tests compare the means of patients.
        seed: Seed of the bootstrap.
        resamples: Number of resamples of the bootstrap.

    Raises:
        UserError: The metric or the label is not in the files, no case is in both, or the patient of a case is missing.

    Example:
        >>> cases = [f"case_{number}" for number in range(6)]
        >>> plain = pd.DataFrame({"case": cases, "label": "tumour", "dice": [0.6, 0.7, 0.8, 0.7, 0.6, 0.8]})
        >>> better = plain.assign(dice=plain["dice"] + [0.02, 0.04, 0.01, 0.03, 0.05, 0.06])
        >>> comparison = compare(plain, {"dcd": better})
        >>> f"{comparison.table.loc['dcd', 'difference']:+.3f}"
        '+0.035'
    """
    named = {"the base": base, **others} | ({} if teacher is None else {"the teacher": teacher})
    for name, frame in named.items():
        _check(frame, name, metric, label)
    notes = [sentence for name, frame in named.items() for sentence in _infinite(frame, name, metric, label)]
    if patients is not None:
        check_patients(patients, (case for frame in (base, *others.values()) for case in frame["case"]))
    known = _patients_in([base, *others.values()]) if patients is None else patients
    rows: dict[str, dict[str, float]] = {}
    differences: dict[str, pd.Series[float]] = {}
    for name, other in others.items():
        pairing = _Pairing.of(base, other, metric, label)
        if pairing.pairs.empty:
            raise UserError(f"no case has a value of {metric} both in the base and in {name}.")
        notes += _unpaired(base, other, pairing, metric, label, name)
        differences[name] = pairing.pairs["other"] - pairing.pairs["base"]
        rows[name] = {"base": pairing.pairs["base"].mean(), "other": pairing.pairs["other"].mean()}
        units = _Units.of(pairing.pairs.index, known)
        by_unit = _tied(units.means(differences[name]), float(pairing.pairs.abs().to_numpy().max()))
        all_known = set(pairing.pairs.index) <= known.keys()
        rows[name] |= {"pairs": len(pairing.pairs), "patients": units.number if all_known else np.nan}
        rows[name] |= _tests(differences[name], by_unit, units, seed, resamples)
        rows[name] |= _means_of_labels(pairing, _Units.of(pairing.base.index, known), seed, resamples, name, notes)
        rows[name] |= {"only_base": pairing.only_base, "only_other": pairing.only_other, "gap_recovered": np.nan}
        if teacher is not None:
            rows[name]["gap_recovered"] = _gap_recovered(pairing.pairs, teacher, metric, label, name, notes)
        notes += [note for note in _about_patients(units, pairing.pairs.index, known) if note not in notes]
        notes += _warnings(by_unit, name, units.name)
        if units.name == "patient" and rows[name]["difference"] * by_unit.mean() < 0:
            notes.append(
                f"{name}: the mean of cases and the mean of patients ({by_unit.mean():+.3g}) differ in sign; the tests "
                "give every patient the same weight."
            )
        if rows[name]["difference"] * rows[name]["difference_of_labels"] < 0:
            notes.append(f"{name}: the mean of cases and the mean of labels differ in sign; the tests are about cases.")
    table = pd.DataFrame.from_dict(rows, orient="index")
    for test in ("t_p", "wilcoxon_p"):
        table[f"{test}_holm"] = holm(table[test].to_numpy())
    if len(table) > 1:
        notes.append(f"Holm's correction is over the {len(table)} comparisons of this table.")
    counts = dict.fromkeys(("pairs", "only_base", "only_other"), int)
    return Comparison(table[list(_COLUMNS)].astype(counts), pd.DataFrame(differences), notes, metric in LOWER_IS_BETTER)


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


@dataclass(frozen=True)
class _Pairing:
    """Two runs on the cases that both have.

    Args:
        pairs: One row per case that has a value in both, with the columns `base` and `other`: the means over the
            labels that are defined in each.
        base: One row per common case and one column per label; NaN where it is undefined.
        other: The same, with the same rows and columns.
    """

    pairs: pd.DataFrame
    base: pd.DataFrame
    other: pd.DataFrame

    @classmethod
    def of(cls, base: pd.DataFrame, other: pd.DataFrame, metric: str, label: str | None) -> _Pairing:
        values = [_values(frame, metric, label) for frame in (base, other)]
        cases = values[0].index.intersection(values[1].index).sort_values()
        labels = values[0].columns.union(values[1].columns, sort=False)
        base, other = (of_run.reindex(index=cases, columns=labels) for of_run in values)
        pairs = pd.DataFrame({"base": base.mean(axis=1), "other": other.mean(axis=1)}).dropna()
        return cls(pairs, base, other)

    @property
    def only_base(self) -> int:
        """Number of values (case and label) that only the base has."""
        return int((self.base.notna() & self.other.isna()).to_numpy().sum())

    @property
    def only_other(self) -> int:
        """Number of values (case and label) that only the other run has."""
        return int((self.other.notna() & self.base.isna()).to_numpy().sum())


def _values(frame: pd.DataFrame, metric: str, label: str | None) -> pd.DataFrame:
    values = by_case_and_label(frame, metric)
    return values if label is None else values[[label]]


def _infinite(frame: pd.DataFrame, name: str, metric: str, label: str | None) -> list[str]:
    """A sentence if there are values that no mean can hold."""
    rows = frame if label is None else frame[frame["label"] == label]
    infinite = rows[np.isinf(rows[metric].to_numpy(np.float64))]
    if infinite.empty:
        return []
    number = len(infinite)
    count = f"{number} values of {metric} are" if number > 1 else f"1 value of {metric} is"
    where = [f"{case} ({of})" for case, of in zip(infinite["case"], infinite["label"], strict=True)]
    return [
        f"{name}: {count} infinite and left out like a missing one.",
        f"{name}: {metric} is infinite in {_listed(where)}.",
    ]


@dataclass(frozen=True)
class _Units:
    """What is drawn and tested: cases, or patients with all of their cases.

    Args:
        name: `case` or `patient`.
        of_case: The number of the unit of each case, from 0.
    """

    name: Literal["case", "patient"]
    of_case: NDArray[np.intp]

    @classmethod
    def of(cls, cases: pd.Index[str], patients: Mapping[str, str]) -> _Units:
        if not set(cases) <= patients.keys():
            return cls("case", np.arange(len(cases)))
        names, of_case = np.unique([patients[case] for case in cases], return_inverse=True)
        return cls("patient" if len(names) < len(cases) else "case", of_case)

    @property
    def number(self) -> int:
        """How many there are."""
        return int(self.of_case.max()) + 1

    @property
    def sizes(self) -> NDArray[np.float64]:
        """The number of cases of each unit."""
        return np.bincount(self.of_case).astype(np.float64)

    def sums(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Sums of values `(…, cases)` over the cases of each unit: `(…, units)`."""
        rows = [np.bincount(self.of_case, row, self.number) for row in values.reshape(-1, values.shape[-1])]
        return np.array(rows, np.float64).reshape(*values.shape[:-1], self.number)

    def means(self, values: pd.Series[float]) -> NDArray[np.float64]:
        """Means over the cases of each unit."""
        numbers = np.asarray(values, np.float64)
        return numbers if self.name == "case" else self.sums(numbers) / self.sizes


def _patients_in(frames: Sequence[pd.DataFrame]) -> dict[str, str]:
    """The patients that files of metrics name."""
    found: dict[str, str] = {}
    for frame in frames:
        if "patient" in frame:
            named = frame.dropna(subset="patient")
            found |= dict(zip(named["case"], named["patient"].astype(str), strict=True))
    return found


def _about_patients(units: _Units, cases: pd.Index[str], patients: Mapping[str, str]) -> list[str]:
    if patients and (lacking := sorted(set(cases) - patients.keys())):
        return [f"The patient of {_listed(lacking)} is not known, so every case counts as independent of the others."]
    if units.name == "case":
        return []
    few = " With so few patients the interval is rather too narrow." if units.number < FEW_PATIENTS else ""
    return [
        f"{units.number} patients, {len(cases)} cases: intervals draw patients with all of their cases, and tests and "
        f"effects are over the means of patients.{few}"
    ]


def _tied(differences: NDArray[np.float64], scale: float) -> NDArray[np.float64]:
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


def _tests(
    differences: pd.Series[float], by_unit: NDArray[np.float64], units: _Units, seed: int, resamples: int
) -> dict[str, float]:
    found = {"difference": float(differences.mean()), "ci_low": np.nan, "ci_high": np.nan}
    found |= {"t_p": np.nan, "wilcoxon_p": np.nan, "cohen_dz": np.nan, "rank_biserial": np.nan}
    if by_unit.any():
        found["wilcoxon_p"] = float(stats.wilcoxon(by_unit).pvalue)
        found["rank_biserial"] = _rank_biserial(by_unit)
    if _varies(by_unit):
        sums, sizes = units.sums(np.asarray(differences, np.float64)), units.sizes
        found["ci_low"], found["ci_high"] = _interval(
            lambda drawn: sums[drawn].sum(axis=-1) / sizes[drawn].sum(axis=-1), units.number, seed, resamples
        )
        found["t_p"] = float(stats.ttest_1samp(by_unit, 0).pvalue)
        found["cohen_dz"] = float(by_unit.mean() / by_unit.std(ddof=1))
    return found


def _means_of_labels(
    pairing: _Pairing, units: _Units, seed: int, resamples: int, name: str, notes: list[str]
) -> dict[str, float]:
    """The mean of labels of both runs, each over its own labels, and the interval of their difference."""
    for run, frame in (("the base", pairing.base), (name, pairing.other)):
        if lacking := [str(label) for label in frame.columns[frame.isna().all()]]:
            notes.append(
                f"{name}: {', '.join(lacking)} has no value in {run}, whose mean of labels is over the others."
            )
    values = np.stack([frame.to_numpy(np.float64).T for frame in (pairing.base, pairing.other)])
    sums, counts = units.sums(np.nan_to_num(values)), units.sums((~np.isnan(values)).astype(np.float64))
    in_both = (counts.sum(axis=-1) > 0).all(axis=0)

    def means(total: NDArray[np.float64], number: NDArray[np.float64]) -> NDArray[np.float64]:
        """Both runs' means `(2, resamples)`; a label that both have counts if both have a value in the resample."""
        defined = number > 0
        defined[:, in_both] = defined[:, in_both].all(axis=0)
        of_labels = np.where(defined, total / np.maximum(number, 1), 0)
        return np.asarray(of_labels.sum(axis=1) / np.maximum(defined.sum(axis=1), 1))

    def difference(drawn: NDArray[np.intp]) -> NDArray[np.float64]:
        base, other = means(sums[..., drawn].sum(axis=-1), counts[..., drawn].sum(axis=-1))
        return np.asarray(other - base)

    total, number = sums.sum(axis=-1, keepdims=True), counts.sum(axis=-1, keepdims=True)
    base, other = means(total, number)[:, 0]
    found = {"base_of_labels": base, "other_of_labels": other, "difference_of_labels": other - base}
    low = high = np.nan
    without_one = means(total - sums, number - counts)
    if units.number > 1 and _varies(without_one[1] - without_one[0]):
        low, high = _interval(difference, units.number, seed, resamples)
    return {key: float(value) for key, value in (found | {"labels_ci_low": low, "labels_ci_high": high}).items()}


def _interval(
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


def _varies(differences: NDArray[np.float64]) -> bool:
    """Whether there is any spread beyond rounding."""
    return bool(np.ptp(differences) > 1e-12 * max(1.0, np.abs(differences).max()))


def _rank_biserial(differences: NDArray[np.float64]) -> float:
    changed = differences[differences != 0]
    ranks = stats.rankdata(np.abs(changed))
    return float((ranks * np.sign(changed)).sum() / ranks.sum())


def _gap_recovered(
    pairs: pd.DataFrame, teacher: pd.DataFrame, metric: str, label: str | None, name: str, notes: list[str]
) -> float:
    """The share of the teacher's lead, over the pairs of the difference; NaN if the teacher lacks one of them."""
    of_teacher = _values(teacher, metric, label).mean(axis=1).reindex(pairs.index)
    if lacking := list(of_teacher.index[of_teacher.isna()]):
        notes.append(
            f"{name}: the teacher has no value of {metric} in {len(lacking)} of the {len(pairs)} cases "
            f"({_listed(lacking)}), so the share of its lead is not given."
        )
        return np.nan
    gap = float((of_teacher - pairs["base"]).mean())
    if (gap if metric not in LOWER_IS_BETTER else -gap) <= 0:
        notes.append(f"{name}: the teacher is not better than the base on these cases, so there is no gap to recover.")
        return np.nan
    return float((pairs["other"] - pairs["base"]).mean()) / gap


def _unpaired(
    base: pd.DataFrame, other: pd.DataFrame, pairing: _Pairing, metric: str, label: str | None, name: str
) -> list[str]:
    cases = set(base["case"]), set(other["case"])
    notes = [
        f"{name}: left out, since only in {where}: {', '.join(sorted(alone))}."
        for where, alone in (("the base", cases[0] - cases[1]), (name, cases[1] - cases[0]))
        if alone
    ]
    undefined = sorted((cases[0] & cases[1]) - set(pairing.pairs.index))
    if undefined:
        of = metric if label is None else f"{metric} of {label}"
        notes.append(f"{name}: left out, since {of} is undefined in one of the two: {', '.join(undefined)}.")
    if pairing.only_base or pairing.only_other:
        of_label = "cases" if label is not None else "values (case and label)"
        notes.append(
            f"{name}: {pairing.only_base + pairing.only_other} {of_label} of {metric} are defined in one run only, "
            f"{pairing.only_base} in the base and {pairing.only_other} in {name}; each run is averaged over its own. "
            "If the reference lacks a label, a run that predicts it has 0 and one that does not has no value; "
            "measured with 1 where both are empty, all cases count in both."
        )
    return notes


def _listed(cases: list[str], most: int = 10) -> str:
    return ", ".join(cases[:most]) + (f" and {len(cases) - most} more" if len(cases) > most else "")


def _warnings(differences: NDArray[np.float64], name: str, unit: str) -> list[str]:
    n = len(differences)
    if not differences.any():
        return [f"{name}: every {unit} has exactly the value of the base, so there is nothing to test."]
    notes = []
    if n < FEWEST_PAIRS:
        notes.append(
            f"{name}: {n} {'pair' if unit == 'case' else unit}{'s are' if n > 1 else ' is'} too few for a conclusion: "
            f"with this number, the p of Wilcoxon's test is {2 / 2**n:.3g} or more."
        )
    if n > 1 and not _varies(differences):
        notes.append(f"{name}: all {unit}s differ by the same amount; the t-test, d_z and the interval need a spread.")
    zeros = int(np.count_nonzero(differences == 0))
    if zeros:
        notes.append(f"{name}: {zeros} of {n} {unit}s do not differ at all; Wilcoxon's test leaves them out.")
    sizes = np.abs(differences[differences != 0])
    if len(np.unique(sizes)) < len(sizes):
        notes.append(f"{name}: some differences are of equal size; Wilcoxon's test gives them their mean rank.")
    return notes


__getattr__ = names_from({"compare_metrics": "nndistill.evaluation.comparison:compare"}, old=__name__)
