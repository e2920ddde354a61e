"""How soon do distilled students reach what the student without a teacher ends at?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import inf, isfinite, isnan, nan

import numpy as np
from numpy.typing import NDArray

from ..reporting.tables.table import Cell, Column, Table
from .results import RunResult
from .rows import StudyRow

_RESAMPLES = 10_000


def batches_saved_table(groups: Mapping[str, Sequence[StudyRow]]) -> Table | None:
    """After which share of the batches of those that they are compared with trainings reach their last pseudo Dice.

    Args:
        groups: The students' rows by the name of the row that they are compared with, which is among them.

    Returns:
        `None` if there is nothing to compare.
    """
    rows = []
    for base, group in groups.items():
        [compared] = [row for row in group if row.name == base]
        for row in (each for each in group if each is not compared):
            shares = np.array([_share_to_reach(own, other) for own, other in _pairs(row, compared)])
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
        caption="Batches after which nnU-Net's pseudo Dice (moving average) first reaches the one that the training "
        "compared with, of the same seed and fold, ends at, as a share of all batches of that training: median over "
        "trainings (of two in the middle the later one), with its 95 % interval for new trainings (bootstrap). The "
        "learning rate falls to zero over all batches of a training, so one planned for fewer batches may do better.",
        stubs=["Model"],
        columns=[Column("Median share"), Column("95 % from"), Column("to"), Column("Trainings that reach it")],
        rows=rows,
    )


def _share_to_reach(own: RunResult, other: RunResult) -> float:
    """Infinite if the last pseudo Dice of the other training is never reached."""
    reached = np.flatnonzero(own.curves["dice"].to_numpy() >= other.curves["dice"].iloc[-1])
    if not reached.size:
        return inf
    return float(reached[0] + 1) * own.batches_per_epoch / (len(other.curves) * other.batches_per_epoch)


def _pairs(row: StudyRow, compared: StudyRow) -> list[tuple[RunResult, RunResult]]:
    others = {(each.run.seed, each.run.fold): each for each in compared.results}
    keys = [(each, (each.run.seed, each.run.fold)) for each in row.results]
    return [(each, others[key]) for each, key in keys if key in others]


def _median(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Along the last axis: one of the values, since some may be infinite; of two in the middle the later one."""
    return np.quantile(values, 0.5, axis=-1, method="higher")


def _interval(shares: NDArray[np.float64]) -> tuple[float, float]:
    """The 95 % interval of the median; by hand, since SciPy's bootstrap interpolates, which infinite values forbid."""
    if len(shares) < 2:
        return nan, nan
    drawn = np.random.default_rng(0).choice(shares, (_RESAMPLES, len(shares)))
    low, high = np.quantile(_median(drawn), [0.025, 0.975], method="inverted_cdf")
    return float(low), float(high)


def _share(value: float) -> str:
    return "–" if isnan(value) else f"{value:.2f}" if isfinite(value) else "never"
