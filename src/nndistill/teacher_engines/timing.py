"""How long engines take for a batch, side by side."""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence

from torch import Tensor

from .base import TeacherEngine


def seconds_per_batch(engines: Sequence[TeacherEngine], x: Tensor, *, budget: float, rounds: int = 3) -> list[float]:
    """Median time of each engine; they take turns, so that a drift of the machine's speed meets them all.

    Args:
        engines: Each has computed a batch of this shape before, so that nothing is prepared any more.
        x: A batch, on the processor.
        budget: Seconds after which no new round begins.
        rounds: Fewest rounds, whatever they take.

    Returns:
        Seconds per batch, in the order of the engines.
    """
    seconds: list[list[float]] = [[] for _ in engines]
    end = time.perf_counter() + budget
    while len(seconds[0]) < rounds or time.perf_counter() < end:
        for engine, measured in zip(engines, seconds, strict=True):
            start = time.perf_counter()
            engine(x)
            measured.append(time.perf_counter() - start)
    return [statistics.median(measured) for measured in seconds]
