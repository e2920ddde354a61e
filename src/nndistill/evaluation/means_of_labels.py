"""The mean of labels of two runs, and the interval of its difference."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .paired_tests import bootstrap_interval, varies
from .paired_units import Units
from .run_pairs import RunPairs


def means_of_labels(
    pairing: RunPairs, units: Units, seed: int, resamples: int, name: str, notes: list[str]
) -> dict[str, float]:
    """The mean of labels of both runs, each over its own labels, and the interval of their difference.

    Args:
        pairing: The two runs.
        units: Of all their common cases.
        seed: Seed of the bootstrap.
        resamples: Number of resamples of the bootstrap.
        name: Of the other run.
        notes: Gets a sentence for each run that has no value of a label.
    """
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
    if units.number > 1 and varies(without_one[1] - without_one[0]):
        low, high = bootstrap_interval(difference, units.number, seed, resamples)
    return {key: float(value) for key, value in (found | {"labels_ci_low": low, "labels_ci_high": high}).items()}
