"""The three measures of a report: what they are called, how they are written, and which direction is better."""

from __future__ import annotations

from dataclasses import dataclass
from math import isfinite, nan, sqrt

import pandas as pd


@dataclass(frozen=True)
class Measure:
    """One column of `metrics.csv`."""

    column: str
    name: str
    unit: str
    digits: int
    higher_is_better: bool

    @property
    def heading(self) -> str:
        """`HD95 (mm) ↓`."""
        return f"{self.label} {'↑' if self.higher_is_better else '↓'}"

    @property
    def label(self) -> str:
        """`HD95 (mm)`."""
        return f"{self.name} ({self.unit})" if self.unit else self.name

    def text(self, value: float) -> str:
        """A value with the digits that are meaningful, or `–`."""
        return f"{value:.{self.digits}f}" if isfinite(value) else "–"


DICE = Measure("dice", "Dice", "", 3, higher_is_better=True)
HD95 = Measure("hd95_mm", "HD95", "mm", 2, higher_is_better=False)
NSD = Measure("nsd", "NSD", "", 3, higher_is_better=True)
MEASURES = (DICE, HD95, NSD)


def case_means(metrics: pd.DataFrame) -> pd.DataFrame:
    """Average every case over its labels, leaving out undefined values; one row a case, in the cases' order."""
    return metrics.groupby("case", sort=False)[[measure.column for measure in MEASURES]].mean()


def standard_error(values: pd.Series[float]) -> float:
    """Standard error of the mean; NaN for fewer than two values."""
    return float(values.std() / sqrt(len(values))) if len(values) > 1 else nan


def labels_in_order(frames: list[pd.DataFrame]) -> list[str]:
    """Every label of several metrics, in the order in which they appear first."""
    return list(dict.fromkeys(str(label) for frame in frames for label in frame["label"]))
