"""The voxels that a label map gets wrong, as three masks that do not overlap."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Mask = NDArray[np.bool_]


class VoxelErrors(NamedTuple):
    """The wrong voxels of a prediction; together they are all voxels that differ from the reference."""

    false_negative: Mask
    """Foreground in the reference, background in the prediction."""
    false_positive: Mask
    """Background in the reference, foreground in the prediction."""
    wrong_label: Mask
    """Foreground in both, with different labels."""


def voxel_errors(reference: NDArray[Any], prediction: NDArray[Any]) -> VoxelErrors:
    """Find the voxels that `prediction` gets wrong, by kind of error.

    Args:
        reference: Labels of any shape; 0 is background.
        prediction: Labels of the same shape.
    """
    present, claimed = reference != 0, prediction != 0
    return VoxelErrors(
        false_negative=present & ~claimed,
        false_positive=~present & claimed,
        wrong_label=present & claimed & (reference != prediction),
    )
