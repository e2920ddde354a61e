"""How far probabilities agree with what is there: expected calibration error, Brier score, reliability per bin."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import reduce
from typing import Any

import numpy as np
from numpy.typing import NDArray

BINS = 15
"""Of equal width between 0 and 1, as in Guo et al. (2017)."""

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Calibration:
    """What is known of the probabilities of one label in some voxels; calibrations of several cases can be added.

    A bin is open below and closed above, and the first one holds 0 too.

    Attributes:
        voxels: Number of voxels per bin.
        probability: Sum of their probabilities per bin.
        present: Number of those that have the label, per bin.
        squared_error: Sum of the squared differences between probability and presence (1 or 0) over all voxels.
    """

    voxels: NDArray[np.int64]
    probability: Floats
    present: NDArray[np.int64]
    squared_error: float

    @classmethod
    def of(cls, probability: NDArray[Any], present: NDArray[np.bool_], *, bins: int = BINS) -> Calibration:
        """Calibration of a probability map.

        Args:
            probability: Of the label, per voxel, from 0 to 1.
            present: Which voxels have the label; of the same shape.
            bins: Number of bins.

        Example:
            >>> probability = np.array([0.1, 0.1, 0.8, 0.8])
            >>> calibration = Calibration.of(probability, np.array([False, False, True, False]), bins=5)
            >>> round(calibration.expected_error, 3), round(calibration.brier, 3)
            (0.2, 0.175)
        """
        probability, present = np.asarray(probability).ravel(), np.asarray(present).ravel()
        bin_of = np.digitize(probability, np.linspace(0, 1, bins + 1)[1:-1], right=True)
        return cls(
            voxels=np.bincount(bin_of, minlength=bins),
            probability=np.bincount(bin_of, weights=probability, minlength=bins).astype(np.float64),
            present=np.bincount(bin_of[present], minlength=bins),
            squared_error=float(np.sum(np.square(np.subtract(probability, present, dtype=np.float64)))),
        )

    @classmethod
    def total(cls, calibrations: Iterable[Calibration]) -> Calibration:
        """The calibration of all voxels together; of at least one calibration."""
        return reduce(cls.__add__, calibrations)

    def __add__(self, other: Calibration) -> Calibration:
        return Calibration(
            self.voxels + other.voxels,
            self.probability + other.probability,
            self.present + other.present,
            self.squared_error + other.squared_error,
        )

    @property
    def expected_error(self) -> float:
        r"""Expected calibration error, from 0 to 1; NaN without voxels.

        $$\mathrm{ECE} = \sum_b \frac{n_b}{N}\,\lvert \bar y_b - \bar p_b\rvert$$

        with $\bar p_b$ the mean probability in bin $b$ and $\bar y_b$ the share of its voxels that have the label.

        Source:
            Naeini et al., Obtaining well calibrated probabilities using Bayesian binning, AAAI 2015.
        """
        return _quotient(float(np.abs(self.present - self.probability).sum()), int(self.voxels.sum()))

    @property
    def brier(self) -> float:
        r"""Brier score $\frac1N\sum_i(p_i-y_i)^2$, from 0 to 1; NaN without voxels.

        Source:
            Brier, Verification of forecasts expressed in terms of probability, Mon. Weather Rev. 78 (1950).
        """
        return _quotient(self.squared_error, int(self.voxels.sum()))

    @property
    def mean_probability(self) -> Floats:
        """Per bin; NaN if it is empty."""
        return self._per_voxel(self.probability)

    @property
    def frequency(self) -> Floats:
        """Share of a bin's voxels that have the label; NaN if it is empty."""
        return self._per_voxel(self.present)

    def _per_voxel(self, sums: NDArray[Any]) -> Floats:
        values = np.full(len(sums), np.nan)
        np.divide(sums, self.voxels, out=values, where=self.voxels > 0)
        return values


def _quotient(sum_: float, count: int) -> float:
    return sum_ / count if count else float("nan")
