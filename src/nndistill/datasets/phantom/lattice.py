r"""Smooth fields as cubic B-splines over a coarse lattice, evaluated on any finer grid of voxels.

$$f(x, y, z) = \sum_{ijk} c_{ijk}\, \beta_3(x - i)\, \beta_3(y - j)\, \beta_3(z - k)$$

Random coefficients give smooth noise; sampled level sets give shapes that stay smooth below the size of a voxel. Every
sum runs in a fixed order without BLAS, so that equal seeds give equal bits whatever the number of threads.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Field = NDArray[np.float32]


@dataclass(frozen=True)
class Lattice:
    """A regular grid of nodes.

    Args:
        origin: Position of the first node on each axis, in mm.
        step: Distance between nodes on each axis, in mm.
        shape: Number of nodes on each axis.
    """

    origin: tuple[float, ...]
    step: tuple[float, ...]
    shape: tuple[int, ...]

    @classmethod
    def covering(cls, axes: Sequence[Field], step: Sequence[float]) -> Lattice:
        """The lattice of the given steps on which the spline is complete over all of `axes` (positions in mm)."""
        count = [int(np.ceil((axis[-1] - axis[0]) / h)) + 4 for axis, h in zip(axes, step, strict=True)]
        centre = [(axis[-1] + axis[0]) / 2 for axis in axes]
        origin = [float(c - (n - 1) / 2 * h) for c, n, h in zip(centre, count, step, strict=True)]
        return cls(tuple(origin), tuple(float(h) for h in step), tuple(count))

    def axes(self) -> list[Field]:
        """Positions of the nodes on each axis, in mm."""
        return [
            (o + h * np.arange(n)).astype(np.float32)
            for o, h, n in zip(self.origin, self.step, self.shape, strict=True)
        ]

    def evaluate(self, coefficients: Field, axes: Sequence[Field]) -> Field:
        """The spline at every point of the grid that `axes` span.

        Args:
            coefficients: One per node, `self.shape`.
            axes: Positions in mm, an ascending vector for each axis, of lengths X, Y, Z.

        Returns:
            `(X, Y, Z)`, float32.
        """
        nodes, weights = zip(*(self._taps(k, axis) for k, axis in enumerate(axes)), strict=True)
        first = int(nodes[0].min())
        field = coefficients[first : int(nodes[0].max()) + 1]  # a slab needs the nodes around it only
        field = _combine(field, nodes[2], weights[2], 2)  # smallest copies first, whole planes last
        field = _combine(field, nodes[1], weights[1], 1)
        return _combine(field, nodes[0] - first, weights[0], 0)

    def noise(self, rng: np.random.Generator, axes: Sequence[Field]) -> Field:
        """Smooth random field over the grid that `axes` span, zero mean and unit variance over many draws."""
        scale = (151 / 315) ** -1.5  # a sum of squared B-spline weights is 151/315 on average, each axis
        return self.evaluate(scale * rng.standard_normal(self.shape, np.float32), axes)

    def _taps(self, axis: int, positions: Field) -> tuple[NDArray[np.intp], Field]:
        """The four nodes around each position and their weights, both `(4, N)`."""
        place = (np.asarray(positions, np.float64) - self.origin[axis]) / self.step[axis]
        below = np.floor(place).astype(np.intp)
        f = place - below
        weights = np.stack([(1 - f) ** 3, 3 * f**3 - 6 * f**2 + 4, -3 * f**3 + 3 * f**2 + 3 * f + 1, f**3]) / 6
        nodes = np.clip(below + np.arange(-1, 3)[:, None], 0, self.shape[axis] - 1)
        return nodes, weights.astype(np.float32)


def _combine(field: Field, nodes: NDArray[np.intp], weights: Field, axis: int) -> Field:
    along = (-1,) + (1,) * (field.ndim - 1 - axis)
    total: Field = field.take(nodes[0], axis) * weights[0].reshape(along)
    for node, weight in zip(nodes[1:], weights[1:], strict=True):
        term = field.take(node, axis)
        term *= weight.reshape(along)
        total += term
    return total
