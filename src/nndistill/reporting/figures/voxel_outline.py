"""The outline of a mask along the edges of its voxels: exact at any magnification, and vector graphics in print."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..voxel_errors import Mask


def voxel_outline(mask: Mask, spacing: tuple[float, float]) -> NDArray[np.float64]:
    """Find the line segments between voxels in the mask and their neighbours outside it.

    Args:
        mask: `(rows, columns)`; everything beyond its border is outside the mask.
        spacing: Height and width of a voxel in mm.

    Returns:
        Line segments `(n, 2, 2)`: the x and y of both ends in mm. Voxel `(r, c)` covers `c … c + 1` widths and
        `r … r + 1` heights.
    """
    padded = np.pad(mask, 1)
    row, column = np.nonzero(padded[1:, 1:-1] != padded[:-1, 1:-1])
    level = np.stack([np.stack([column, row], -1), np.stack([column + 1, row], -1)], axis=1)
    row, column = np.nonzero(padded[1:-1, 1:] != padded[1:-1, :-1])
    upright = np.stack([np.stack([column, row], -1), np.stack([column, row + 1], -1)], axis=1)
    return np.concatenate([level, upright]) * np.array([spacing[1], spacing[0]], dtype=np.float64)
