"""Repeated measurements: their median and their spread."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from statistics import median
from typing import Any


@dataclass(frozen=True)
class Timing:
    """Latencies of one computation in seconds, over rounds.

    Args:
        seconds: One per round, in the order of the rounds.
    """

    seconds: tuple[float, ...]

    @property
    def median(self) -> float:
        return median(self.seconds)

    @property
    def spread(self) -> tuple[float, float]:
        """The fastest and the slowest round."""
        return min(self.seconds), max(self.seconds)

    def speed(self, base: Timing) -> Speed:
        """How many times as fast as `base` this is, whose rounds took turns with these.

        If one of them had fewer rounds, the spread is over all pairs of a round of one with a round of the other.
        """
        paired = len(self.seconds) == len(base.seconds)
        pairs = zip(base.seconds, self.seconds, strict=True) if paired else product(base.seconds, self.seconds)
        ratios = [other / own for other, own in pairs]
        return Speed(base.median / self.median, min(ratios), max(ratios))

    def numbers(self, what: str, base: Timing) -> dict[str, Any]:
        """As plain values whose names begin with `what`: the rounds, and the speed compared with `base`."""
        speed = self.speed(base)
        return {
            f"{what}_s": list(self.seconds),
            f"{what}_speed": speed.ratio,
            f"{what}_speed_range": [speed.least, speed.greatest],
        }


@dataclass(frozen=True)
class Speed:
    """A ratio of medians, and the least and the greatest ratio of the times of two rounds."""

    ratio: float
    least: float
    greatest: float


def rounds_that_fit(first: float, *, rounds: int, budget: float) -> int:
    """How many further rounds to measure after one that took `first` seconds: at most `rounds`, within a budget.

    Args:
        first: Seconds of the first round.
        rounds: How many are wanted.
        budget: Seconds that all rounds together, the first one too, may take.
    """
    return int(min(rounds, max(0.0, budget / first - 1)))


def without_warm_up(seconds: Sequence[float]) -> Timing:
    """Leave out the first round, which warms up, unless there is no other."""
    return Timing(tuple(seconds[1:] or seconds))
