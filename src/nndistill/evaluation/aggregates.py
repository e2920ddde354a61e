"""One number for many cases and labels: the two ways of averaging, which differ as soon as a value is undefined."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

MEAN_OF_LABELS = "mean of labels"
MEAN_OF_CASES = "mean of cases"


@dataclass(frozen=True)
class Mean:
    """A mean over cases and labels.

    Args:
        value: The mean; NaN if no value is defined.
        error: Its standard error over the cases; NaN for fewer than two cases.
        cases: Number of cases with a value.
        undefined: Number of values (case and label) that are missing or infinite and therefore left out.
        empty_labels: Labels without any value, which are left out.
    """

    value: float
    error: float
    cases: int
    undefined: int
    empty_labels: tuple[str, ...] = ()


def mean_of_labels(metrics: pd.DataFrame, column: str) -> Mean:
    r"""Average each label over the cases first, then the labels: nnU-Net's `foreground_mean`, the paper's overall.

    $$\bar m = \frac1L\sum_l \bar m_l,\qquad \bar m_l = \frac1{n_l}\sum_{i:\,x_{il}\text{ defined}} x_{il}$$

    The standard error over $N$ cases is that of the sum of each case's contributions,
    $e_i = \frac1L\sum_l \frac N{n_l}(x_{il}-\bar m_l)$ over its defined values: $\sqrt{\sum_i e_i^2/(N(N-1))}$. If
    every value is defined, both are those of `mean_of_cases`.

    Args:
        metrics: One row per case and label, with the columns `case` and `label`.
        column: The metric.

    Example:
        >>> rows = [("a", "core", 0.8), ("a", "rim", 0.6), ("b", "core", 0.4), ("b", "rim", None)]
        >>> metrics = pd.DataFrame(rows, columns=["case", "label", "dice"])
        >>> f"{mean_of_labels(metrics, 'dice').value:.2f}, {mean_of_cases(metrics, 'dice').value:.2f}"
        '0.60, 0.55'
    """
    values = by_case_and_label(metrics, column)
    numbers = values.to_numpy(np.float64)
    counts = np.count_nonzero(~np.isnan(numbers), axis=0)
    filled, numbers = counts > 0, numbers[:, counts > 0]
    of_labels = np.nansum(numbers, axis=0) / counts[filled]
    defined = ~np.isnan(numbers)
    contributions = np.where(defined, (numbers - of_labels) / counts[filled], 0.0).sum(axis=1)
    cases = int(defined.any(axis=1).sum())
    error = np.sqrt(cases / (cases - 1) * (contributions**2).sum()) / len(of_labels) if cases > 1 else np.nan
    return Mean(
        value=float(of_labels.mean()) if len(of_labels) else np.nan,
        error=float(error),
        cases=cases,
        undefined=_undefined(metrics, column),
        empty_labels=tuple(str(label) for label in values.columns[~filled]),
    )


def mean_of_cases(metrics: pd.DataFrame, column: str) -> Mean:
    """Average each case over its defined labels first, then the cases: what paired tests are about.

    Args:
        metrics: One row per case and label, with the columns `case` and `label`.
        column: The metric.
    """
    values = case_means(metrics, [column])[column].dropna()
    error = float(values.std(ddof=1) / np.sqrt(len(values))) if len(values) > 1 else np.nan
    return Mean(float(values.mean()), error, len(values), _undefined(metrics, column))


def case_means(metrics: pd.DataFrame, columns: Sequence[str]) -> pd.DataFrame:
    """Average every case over its defined labels: one row per case, in the order of the cases."""
    numbers = metrics[list(columns)].astype(np.float64)
    return numbers.where(np.isfinite(numbers)).groupby(metrics["case"], sort=False).mean()


def by_case_and_label(metrics: pd.DataFrame, column: str) -> pd.DataFrame:
    """A metric with one row per case and one column per label, in their order; NaN where it is undefined."""
    values = finite(metrics[column]).groupby([metrics["case"], metrics["label"]], sort=False).mean().unstack("label")
    return values.reindex(index=metrics["case"].unique(), columns=metrics["label"].unique())


def finite(values: pd.Series[float]) -> pd.Series[float]:
    """The values, with NaN for those that are infinite: no mean can hold them."""
    return values.where(np.isfinite(values.astype(np.float64)))


def _undefined(metrics: pd.DataFrame, column: str) -> int:
    return int(finite(metrics[column]).isna().sum())
