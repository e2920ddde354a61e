r"""One axis of the transform, arranged so that $\mathcal P^\top \mathcal P$ needs one way there and one way back.

$\mathcal P = I - \sum_a S_a A_a$ removes the bands $a$: the deepest approximation and, at every level, what is high
along all axes. $A_a$ analyses and $S_a$ synthesises; in three dimensions each is one matrix per axis. So

$$\mathcal P^\top \mathcal P = I - \sum_a S_a A_a - \sum_a A_a^\top S_a^\top + \sum_{ab} A_a^\top (S_a^\top S_b) A_b$$

needs the coefficients $A_a x$ and the dual ones $S_a^\top x$. For an orthogonal wavelet both are the same, except near
a border that is not periodic. So an axis has *rows*: those of $A_a$, and the few of $S_a^\top$ that differ. With $B_a$
the matrix of these rows,

$$\mathcal P^\top \mathcal P = I - \sum_{ab} B_a^\top\, \Phi_{ab}\, B_b,$$

where $\Phi_{ab}$ works on coefficients alone. It is the identity where an axis has no rows but $A_a$'s and
$S_a^\top S_b = \delta_{ab} I$, as under periodization if every level halves the size.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np

from ..operators import analysis_matrix, synthesis_matrix

NOTHING = 1e-9
"""Entries up to this are the rounding of PyWavelets' filters."""

Band = tuple[str, int]
"""A letter, the same along all axes, at a level: `("L", 3)`, `("H", 1)`."""

Array = np.ndarray


@dataclass(frozen=True)
class Rows:
    """The rows of one level along one axis, in the order of their places, so that a matrix stays banded.

    Args:
        primal: Where the rows of $A_a$ are, `(coefficients,)`.
        dual: Where those of $S_a^\\top$ are; the same place where both are equal.
        count: How many there are.
    """

    primal: Array
    dual: Array
    count: int


@dataclass(frozen=True)
class Level:
    """One level along one axis.

    Args:
        rows: Of both letters.
        low: From the low rows of the level before to these, `(rows, rows before)`; transposed it leads back.
        high: From the low rows of the level before to the high ones of this one.
    """

    rows: Rows
    low: Array
    high: Array


@dataclass(frozen=True)
class Axis:
    """All levels along one axis, in double precision.

    Args:
        levels: Finest first.
        synthesis: $S_a$ of every band, `(samples, coefficients)`.
    """

    levels: tuple[Level, ...]
    synthesis: dict[Band, Array]

    def rows(self, band: Band) -> Rows:
        return self.levels[band[1] - 1].rows

    def gram(self, a: Band, b: Band) -> Array:
        r"""$S_a^\top S_b$ without rounding, `(coefficients of a, coefficients of b)`."""
        product = self.synthesis[a].T @ self.synthesis[b]
        return np.where(np.abs(product) > NOTHING, product, 0.0)

    def form(self, band: Band) -> Array:
        r"""Three matrices, `(3, rows, rows)`: in three dimensions $\Phi_{aa}$ is the sum of each one's product.

        Along one of the axes they need the signs +1, +1 and −1.
        """
        rows = self.rows(band)
        crossing = np.zeros((rows.count, rows.count))
        crossing[rows.primal, rows.dual] = 1
        own = np.zeros_like(crossing)
        own[np.ix_(rows.primal, rows.primal)] = self.gram(band, band)
        return np.stack([crossing, crossing.T, own])

    @cached_property
    def is_orthogonal(self) -> bool:
        r"""Whether $\Phi$ is the identity as far as this axis goes."""
        bands = list(self.synthesis)
        return all(level.rows.count == len(level.rows.primal) for level in self.levels) and all(
            np.allclose(self.gram(a, b), np.eye(len(self.rows(a).primal)) if a == b else 0, rtol=0, atol=1e-7)
            for a in bands
            for b in bands
        )

    def border(self, band: Band) -> Array:
        """Coefficients of a band that have a part in another one."""
        touched = [np.abs(self.gram(band, other)).max(1) > 0 for other in self.synthesis if other != band]
        return np.flatnonzero(np.any(touched, axis=0))


@lru_cache(maxsize=256)
def axis(wavelet: str, mode: str, size: int, level: int) -> Axis:
    """Arrange an axis of `size` samples.

    Raises:
        UserError: PyWavelets refuses this size in this mode.

    Example:
        >>> halved = axis("db4", "periodization", 32, 2)
        >>> [level.rows.count for level in halved.levels], halved.is_orthogonal
        ([16, 8], True)
        >>> mirrored = axis("db4", "symmetric", 32, 2)
        >>> [len(level.rows.primal) for level in mirrored.levels], [level.rows.count for level in mirrored.levels]
        ([19, 13], [25, 23])
    """
    there = back = np.eye(size)  # A and S of the low band so far
    before = Rows(np.arange(size), np.arange(size), size)
    levels: list[Level] = []
    synthesis: dict[Band, Array] = {}
    for number in range(1, level + 1):
        samples = len(before.primal)
        analyses = analysis_matrix(wavelet, mode, samples).numpy()
        syntheses = synthesis_matrix(wavelet, mode, analyses.shape[1], samples).numpy()
        composed = [(analysis @ there, back @ back_one) for analysis, back_one in zip(analyses, syntheses, strict=True)]
        synthesis["H", number] = composed[1][1]
        differing = [np.abs(of_a - of_s.T).max(1) > NOTHING for of_a, of_s in composed]
        rows = _rows(differing[0] | differing[1])
        low, high = (
            _step(analysis, back_one.T, before, rows) for analysis, back_one in zip(analyses, syntheses, strict=True)
        )
        levels.append(Level(rows, low, high))
        (there, back), before = composed[0], rows
    synthesis["L", level] = back
    return Axis(tuple(levels), synthesis)


def _rows(differ: Array) -> Rows:
    """A dual row of its own comes next to the primal one: before it in the first half, after it in the second."""
    own = differ.astype(int)
    first_half = np.arange(len(differ)) < len(differ) / 2
    places = np.arange(len(differ)) + np.cumsum(own) - own  # of the first of each pair
    primal, dual = places + own * first_half, places + own * ~first_half
    return Rows(primal, dual, len(differ) + int(own.sum()))


def _step(analysis: Array, dual_analysis: Array, before: Rows, rows: Rows) -> Array:
    matrix = np.zeros((rows.count, before.count))
    matrix[np.ix_(rows.dual, before.dual)] = dual_analysis
    matrix[rows.primal] = 0
    matrix[np.ix_(rows.primal, before.primal)] = analysis
    return matrix
