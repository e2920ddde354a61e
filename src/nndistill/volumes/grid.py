"""The position of a volume's voxels in space, and whether two volumes are at the same position."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..errors import UserError

Affine = NDArray[np.float64]

SAME_PLACE = 0.05
"""Share of the smallest voxel by which two files of one grid may be apart at any corner: rounding of conversions.

The one tolerance of prepare, predict and evaluate.
"""

RIGHT_ANGLE = 2e-4
"""Greatest cosine between two axes; beyond about this, ITK and therefore nnU-Net do not read a file."""


@dataclass(frozen=True)
class Grid:
    """The shape of a volume and its position in space.

    Args:
        path: The file.
        shape: Voxels along each axis.
        affine: From voxel indices to mm: to the right, to the front and upwards, `(4, 4)`.
    """

    path: Path
    shape: tuple[int, ...]
    affine: Affine

    @property
    def spacing(self) -> NDArray[np.float64]:
        """Size of a voxel in mm."""
        return np.asarray(np.linalg.norm(self.affine[:3, :3], axis=0), np.float64)

    @property
    def corners(self) -> NDArray[np.float64]:
        """Voxel indices of the centres of the corner voxels, `(4, 8)`, with a row of ones."""
        sizes = (*self.shape, 1, 1)[:3]
        return np.array([[*corner, 1] for corner in product(*((0, n - 1) for n in sizes))], np.float64).T

    def apart(self, affine: Affine) -> float:
        """Greatest distance in mm that a corner would move under another affine."""
        return float(np.linalg.norm(((self.affine - affine) @ self.corners)[:3], axis=0).max())

    def share_inside(self, other: Grid) -> float:
        """Share of this volume that is inside another one."""
        steps = np.meshgrid(*(np.linspace(0, n - 1, 12) for n in self.shape), [1.0], indexing="ij")
        points = np.reshape(steps, (4, -1))
        inside = (np.linalg.inv(other.affine) @ self.affine @ points)[:3]
        low, high = -0.5, np.array(other.shape)[:, None] - 0.5
        return float(((inside >= low) & (inside <= high)).all(axis=0).mean())


def is_same_grid(grid: Grid, expected: Grid) -> bool:
    """Whether two volumes have the same voxels at the same positions, up to `SAME_PLACE`."""
    return bool(grid.shape == expected.shape and grid.apart(expected.affine) <= SAME_PLACE * grid.spacing.min())


def is_equal_grid(grid: Grid, expected: Grid) -> bool:
    """Whether the positions of two volumes are so close that nnU-Net does not warn."""
    return grid.shape == expected.shape and np.allclose(grid.affine, expected.affine)


def check_same_grid(grid: Grid, expected: Grid) -> None:
    """Refuse two volumes whose voxels are not at the same positions.

    Raises:
        UserError: The shapes differ, or some corner is off by more than a twentieth of a voxel.
    """
    if grid.shape != expected.shape:
        raise UserError(f"{grid.path} has shape {times(grid.shape)}, but {expected.path} has {times(expected.shape)}.")
    if not is_same_grid(grid, expected):
        apart = grid.apart(expected.affine)
        raise UserError(
            f"{grid.path} and {expected.path} are at different positions: up to {apart:.3g} mm apart "
            f"(affines {_listed(grid.affine)} and {_listed(expected.affine)})."
        )


def check_right_angles(grid: Grid) -> None:
    """Refuse a volume whose axes are not at right angles: nnU-Net cannot read it.

    Raises:
        UserError: They are not.
    """
    axes = grid.affine[:3, :3] / grid.spacing
    if np.abs(axes.T @ axes - np.eye(3)).max() > RIGHT_ANGLE:
        raise UserError(
            f"{grid.path} has axes that are not at right angles (affine {_listed(grid.affine)}), "
            "which nnU-Net does not read: resample it first."
        )


def times(shape: Sequence[int]) -> str:
    """A shape as text: `182×218×182`."""
    return "×".join(map(str, shape))


def _listed(affine: Affine) -> str:
    return str(np.round(affine[:3], 3).tolist())
