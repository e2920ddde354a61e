"""Two runs on the cases that both have, each averaged over its own defined labels."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from .aggregates import by_case_and_label


@dataclass(frozen=True)
class RunPairs:
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
    def of(cls, base: pd.DataFrame, other: pd.DataFrame, metric: str, label: str | None) -> RunPairs:
        """Of the metrics of two runs."""
        values = [values_by_case(frame, metric, label) for frame in (base, other)]
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


def values_by_case(frame: pd.DataFrame, metric: str, label: str | None) -> pd.DataFrame:
    """A metric's values, one row per case and one column per label, or of one label only."""
    values = by_case_and_label(frame, metric)
    return values if label is None else values[[label]]
