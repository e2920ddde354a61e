"""The three metrics of a report: their names, how their values are written, and which direction is better."""

from __future__ import annotations

from dataclasses import dataclass
from math import isfinite, nan

import pandas as pd

from ..evaluation import aggregates


@dataclass(frozen=True)
class Metric:
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
        """The value with the digits that mean something; `–` if it is undefined."""
        return f"{value:.{self.digits}f}" if isfinite(value) else "–"


DICE = Metric("dice", "Dice", "", 3, higher_is_better=True)
HD95 = Metric("hd95_mm", "HD95", "mm", 2, higher_is_better=False)
NSD = Metric("nsd", "NSD", "", 3, higher_is_better=True)
METRICS = (DICE, HD95, NSD)


def case_means(metrics: pd.DataFrame) -> pd.DataFrame:
    """Average every case over its labels, leaving out undefined values: one row per case, in the order of the cases."""
    return aggregates.case_means(metrics, [metric.column for metric in METRICS])


def case_dice(metrics: pd.DataFrame, case: str) -> float:
    """Mean Dice of one case over its labels; NaN if it is undefined or the case is not there."""
    return float(case_means(metrics)[DICE.column].get(case, nan))


def labels_in_order(frames: list[pd.DataFrame]) -> list[str]:
    """All labels of several tables of metrics, in order of first appearance."""
    return list(dict.fromkeys(str(label) for frame in frames for label in frame["label"]))
