"""Which part of a volume to show: the slice and the box in which predictions differ and the reference is fine.

Volumes are `(x, y, z)`, as nibabel reads them, with x to the patient's right, y to the front and z to the head (RAS).
A *picture* is an axial slice of a volume, `(rows, columns)`: drawn with row 0 at the bottom, the patient's front is up
and the patient's right is on the left, as radiologists look at it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from ...volumes.bounding_box import bounding_box, whole_box
from ..voxel_errors import Mask

FINE_WEIGHT = 4.0
"""How much more a voxel at a fine structure counts than any other voxel."""
AIR = 0.06
"""Intensity below which a voxel is air, as a share of the display window."""
FEWEST_VOXELS = 20
"""The automatic box is not made narrower than this many voxels."""

Volume = NDArray[Any]
Picture = NDArray[Any]


class Box(NamedTuple):
    """A rectangle of a picture, in voxels."""

    row: int
    column: int
    height: int
    width: int

    def crop(self, picture: Picture) -> Picture:
        """Cut the rectangle out of a picture."""
        return picture[self.row : self.row + self.height, self.column : self.column + self.width]


def axial_picture(volume: Volume, index: int) -> Picture:
    """The axial slice `index` as a picture (see above)."""
    return volume[::-1, :, index].T


def display_window(image: Volume) -> NDArray[np.float64]:
    """Scale intensities to 0 … 1, from the background to the 99.5th percentile of everything else."""
    values = np.nan_to_num(np.asarray(image, dtype=np.float64))
    inside = values[values != values.flat[0]]
    if inside.size == 0:
        return np.zeros_like(values)
    low, high = min(values.flat[0], np.percentile(inside, 0.5)), np.percentile(inside, 99.5)
    return np.asarray(np.clip((values - low) / max(high - low, 1e-12), 0, 1))


def interest_weights(reference: Volume, predictions: Sequence[Volume]) -> NDArray[np.float64]:
    """Weight every voxel by how much it shows of the difference between the predictions.

    A voxel counts if the predictions are not all equal there, and `FINE_WEIGHT` times as much at a fine structure of
    the reference. Slices without any reference count only if nothing else does. Predictions that are equal everywhere
    are compared with the reference instead; if they are perfect, the reference's foreground counts, and if that is
    empty as well, every voxel counts.

    Returns:
        Weights of the reference's shape, not all zero.
    """
    everywhere = np.ones(reference.shape, dtype=bool)
    differing = np.any([other != predictions[0] for other in predictions[1:]], axis=0) & everywhere
    wrong = np.any([prediction != reference for prediction in predictions], axis=0)
    inhabited = everywhere & np.any(reference != 0, axis=(0, 1))
    candidates = (differing & inhabited, differing, wrong & inhabited, wrong, reference != 0, everywhere)
    counted = next(mask for mask in candidates if mask.any())
    return np.where(near_fine_structure(reference), FINE_WEIGHT, 1.0) * counted


def near_fine_structure(reference: Volume) -> Mask:
    """Mark everything that is thin or small in the reference, and the voxels next to it.

    A structure is fine if an opening with the 3×3×3 cross removes it from its label: rims, folds and satellites of one
    or two voxels.
    """
    fine = np.zeros(reference.shape, dtype=bool)
    for label in np.unique(reference[reference != 0]):
        mask = reference == label
        fine |= mask & ~ndimage.binary_opening(mask)
    return np.asarray(ndimage.binary_dilation(fine), dtype=bool)


def choose_slice(weights: Volume) -> int:
    """Choose the axial slice with the largest sum of weights; of several equal ones, the middle one."""
    sums = weights.sum(axis=(0, 1))
    best = np.flatnonzero(sums == sums.max())
    return int(best[len(best) // 2])


def content_box(grey: Picture, labels: Sequence[Picture], *, margin: int = 2) -> Box:
    """The smallest box around everything that is not air, and every label.

    Args:
        grey: Intensities in the display window, 0 … 1.
        labels: Label pictures of the same shape.
        margin: Number of voxels to add on each side, as far as the picture reaches.
    """
    tissue = ndimage.binary_opening(grey > AIR)
    occupied = np.any([tissue, *(picture != 0 for picture in labels)], axis=0)
    rows, columns = bounding_box(occupied, margin=margin) or whole_box(grey.shape)
    return Box(rows.start, columns.start, rows.stop - rows.start, columns.stop - columns.start)


def choose_box(weights: Picture, *, zoom: float | None = None) -> Box:
    """Choose the box with the picture's proportions that has the most weight near its centre.

    Weights count less towards the sides of the box (a tent along each axis), which centres it on a cluster.

    Args:
        weights: Weights of one slice; if all are zero, the box is in the middle of the picture.
        zoom: How many times the box fits into the picture's height and width; default: 3, or less if the picture is so
            small that its box would be narrower than `FEWEST_VOXELS`.
    """
    rows, columns = weights.shape
    factor = max(1.0, min(3.0, min(rows, columns) / FEWEST_VOXELS)) if zoom is None else zoom
    height, width = max(1, round(rows / factor)), max(1, round(columns / factor))
    near = weights.astype(np.float64)
    for axis, length in enumerate((height, width)):
        near = ndimage.correlate1d(near, np.bartlett(length + 2)[1:-1], axis=axis, mode="constant")
    best = np.argwhere(near == near.max())
    row, column = best[len(best) // 2] if near.any() else (rows // 2, columns // 2)
    return Box(
        int(np.clip(row - height // 2, 0, rows - height)),
        int(np.clip(column - width // 2, 0, columns - width)),
        height,
        width,
    )
