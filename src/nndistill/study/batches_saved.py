"""How soon do distilled students reach what the student without a teacher ends at?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import inf, isfinite

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ..reporting.tables.table import Cell, Column, Table
from .rows import StudyRow

_RESAMPLES = 10_000


def batches_saved_table(groups: Mapping[str, Sequence[StudyRow]]) -> Table | None:
    """The share of the batches after which trainings reach the last pseudo Dice of those that they are compared with.

    Args:
        groups: The students' rows by the name of the row that they are compared with, which is among them.

    Returns:
        `None` if there is nothing to compare.
    """
    rows = []
    for base, group in groups.items():
        [compared] = [row for row in group if row.name == base]
        for row in (each for each in group if each is not compared):
            shares = np.array([share_to_reach(own, other) for own, other in _pairs(row, compared)])
            if not shares.size:
                continue
            low, high = _interval(shares)
            reached = f"{int(np.isfinite(shares).sum())} of {len(shares)}"
            values = (float(_median(shares)), low, high)
            rows.append(([row.name], [*(Cell(_share(value)) for value in values), Cell(reached)]))
    if not rows:
        return None
    return Table(
        name="batches-saved",
        title=f"Batches to the last pseudo Dice of {' or '.join(groups)}",
        caption="Share of all batches after which nnU-Net's pseudo Dice (moving average) first reaches the one that "
        "the training it is compared with, of the same seed and fold, ends at: median over trainings, with its 95 % "
        "interval for new trainings (bootstrap). The learning rate falls to zero over all batches in either, so a "
        "training planned for fewer batches may do better.",
        stubs=["Model"],
        columns=[Column("Median share"), Column("95 % from"), Column("to"), Column("Trainings that reach it")],
        rows=rows,
    )


def share_to_reach(curve: pd.DataFrame, other: pd.DataFrame) -> float:
    """Return the share of epochs after which a training's pseudo Dice reaches another one's last; infinite if never.

    Example:
        >>> fast, slow = (pd.DataFrame({"dice": dice}) for dice in ([0.2, 0.5, 0.7, 0.8], [0.1, 0.2, 0.4, 0.6]))
        >>> share_to_reach(fast, slow), share_to_reach(slow, fast)
        (0.75, inf)
    """
    reached = np.flatnonzero(curve["dice"].to_numpy() >= other["dice"].iloc[-1])
    return float(reached[0] + 1) / len(curve) if reached.size else inf


def _pairs(row: StudyRow, compared: StudyRow) -> list[tuple[pd.DataFrame, pd.DataFrame]]:
    others = {(each.run.seed, each.run.fold): each.curves for each in compared.results}
    keys = [(each, (each.run.seed, each.run.fold)) for each in row.results]
    return [(each.curves, others[key]) for each, key in keys if key in others]


def _median(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Along the last axis: one of the values, so that it is defined where some are infinite."""
    return np.quantile(values, 0.5, axis=-1, method="inverted_cdf")


def _interval(shares: NDArray[np.float64]) -> tuple[float, float]:
    """The 95 % interval of the median; by hand, since SciPy's bootstrap interpolates, which infinite values forbid."""
    drawn = np.random.default_rng(0).choice(shares, (_RESAMPLES, len(shares)))
    low, high = np.quantile(_median(drawn), [0.025, 0.975], method="inverted_cdf")
    return float(low), float(high)


def _share(value: float) -> str:
    return f"{value:.2f}" if isfinite(value) else "never"
