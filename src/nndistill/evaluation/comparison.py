"""Paired comparison of runs: by how much they differ on the same cases, and whether it may be chance."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ..errors import UnknownName, UserError
from ..moved import names_from
from .few_pairs import too_few
from .means_of_labels import means_of_labels
from .paired_tests import holm, paired_tests, tied, varies
from .paired_units import Units, patients_in
from .patients import check_patients
from .run_pairs import RunPairs, values_by_case

LOWER_IS_BETTER = frozenset({"hd95_mm", "whole_hd95_mm", "lesions_missed", "lesions_false"})
ABSOLUTE = frozenset({"case", "label", "reference_voxels", "predicted_voxels", "reference_ml", "predicted_ml"})
FEW_PATIENTS = 15
"""With fewer patients, a bootstrap over patients gives intervals that are too narrow."""

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
        UserError: The metric or the label is not in the files, their labels differ and none is chosen, no case is in
            both, or the patient of a case is missing.

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
    if label is None:
        _check_same_labels(named)
    notes = [sentence for name, frame in named.items() for sentence in _infinite(frame, name, metric, label)]
    if patients is not None:
        check_patients(patients, (case for frame in (base, *others.values()) for case in frame["case"]))
    known = patients_in([base, *others.values()]) if patients is None else patients
    rows: dict[str, dict[str, float]] = {}
    differences: dict[str, pd.Series[float]] = {}
    for name, other in others.items():
        pairing = RunPairs.of(base, other, metric, label)
        if pairing.pairs.empty:
            raise UserError(f"no case has a value of {metric} both in the base and in {name}.")
        notes += _unpaired(base, other, pairing, metric, label, name)
        differences[name] = pairing.pairs["other"] - pairing.pairs["base"]
        rows[name] = {"base": pairing.pairs["base"].mean(), "other": pairing.pairs["other"].mean()}
        units = Units.of(pairing.pairs.index, known)
        by_unit = tied(units.means(differences[name]), float(pairing.pairs.abs().to_numpy().max()))
        all_known = set(pairing.pairs.index) <= known.keys()
        rows[name] |= {"pairs": len(pairing.pairs), "patients": units.number if all_known else np.nan}
        rows[name] |= paired_tests(differences[name], by_unit, units, seed, resamples)
        rows[name] |= means_of_labels(pairing, Units.of(pairing.base.index, known), seed, resamples, name, notes)
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


def _check(frame: pd.DataFrame, name: str, metric: str, label: str | None) -> None:
    metrics = set(frame.select_dtypes("number").columns) - ABSOLUTE
    if metric not in metrics:
        raise UserError(f"{name}: {UnknownName('metric', metric, metrics)}", option="metric")
    if label is not None and label not in set(frame["label"]):
        raise UserError(f"{name}: {UnknownName('label', label, frame['label'].unique())}", option="label")


def _check_same_labels(named: Mapping[str, pd.DataFrame]) -> None:
    """Refuse means over different labels; the metrics of a run have a row per label in every case, empty or not."""
    (first, labels), *others = ((name, frame["label"].unique().tolist()) for name, frame in named.items())
    for name, own in others:
        alone = {first: sorted(set(labels) - set(own)), name: sorted(set(own) - set(labels))}
        if differing := [f"only {run} has {_listed(of_run)}" for run, of_run in alone.items() if of_run]:
            raise UserError(
                f"{first} and {name} have different labels: {' and '.join(differing)}. Measure all runs with the same "
                "labels (nndistill evaluate with --regions for all of them or for none), or choose a label that all "
                "have.",
                option="label",
            )


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


def _about_patients(units: Units, cases: pd.Index[str], patients: Mapping[str, str]) -> list[str]:
    if patients and (lacking := sorted(set(cases) - patients.keys())):
        return [f"The patient of {_listed(lacking)} is not known, so every case counts as independent of the others."]
    if units.name == "case":
        return []
    few = " With so few patients the interval is rather too narrow." if units.number < FEW_PATIENTS else ""
    return [
        f"{units.number} patients, {len(cases)} cases: intervals draw patients with all of their cases, and tests and "
        f"effects are over the means of patients.{few}"
    ]


def _gap_recovered(
    pairs: pd.DataFrame, teacher: pd.DataFrame, metric: str, label: str | None, name: str, notes: list[str]
) -> float:
    """The share of the teacher's lead, over the pairs of the difference; NaN if the teacher lacks one of them."""
    of_teacher = values_by_case(teacher, metric, label).mean(axis=1).reindex(pairs.index)
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
    base: pd.DataFrame, other: pd.DataFrame, pairing: RunPairs, metric: str, label: str | None, name: str
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
    if few := too_few(n, "pair" if unit == "case" else unit):
        notes.append(f"{name}: {few}: with this number, the p of Wilcoxon's test is {2 / 2**n:.3g} or more.")
    if n > 1 and not varies(differences):
        notes.append(f"{name}: all {unit}s differ by the same amount; the t-test, d_z and the interval need a spread.")
    zeros = int(np.count_nonzero(differences == 0))
    if zeros:
        notes.append(f"{name}: {zeros} of {n} {unit}s do not differ at all; Wilcoxon's test leaves them out.")
    sizes = np.abs(differences[differences != 0])
    if len(np.unique(sizes)) < len(sizes):
        notes.append(f"{name}: some differences are of equal size; Wilcoxon's test gives them their mean rank.")
    return notes


__getattr__ = names_from({"compare_metrics": "nndistill.evaluation.comparison:compare"}, old=__name__)
