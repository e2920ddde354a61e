"""The values of label maps: whole numbers, however a file stores them, and the smallest type that holds them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import UserError

Labels = NDArray[Any]
"""A label map: an array of an integer type."""

ROUNDING = 1e-6
"""Greatest distance of a value to a whole number that counts as rounding, relative to the value if that is above 1.

A scale in single precision, with which some programs store labels, moves a value by a tenth of this.
"""

_TYPES = (np.uint8, np.int8, np.uint16, np.int16, np.uint32, np.int32, np.uint64, np.int64)


def is_whole(values: NDArray[Any]) -> NDArray[np.bool_]:
    """Whether each value is a whole number up to rounding.

    Example:
        >>> is_whole(np.array([2.9999999993, 2.00007, np.nan])).tolist()
        [True, False, False]
    """
    if values.dtype.kind in "iub":
        return np.ones(values.shape, np.bool_)
    with np.errstate(invalid="ignore"):  # NaN and infinity
        near = np.abs(values - np.rint(values)) <= ROUNDING * np.maximum(1, np.abs(values))
    return np.asarray(near & (np.abs(values) < 2**53))


def whole_numbers(values: NDArray[Any], path: Path) -> Labels:
    """A label map as integers, even if the file stores them scaled or as floating-point numbers.

    Args:
        values: The values that the file means, scaled.
        path: The file, for the message.

    Raises:
        UserError: A value is not a whole number; the message shows it in full.

    Example:
        >>> whole_numbers(np.array([0.0, 2.9999999993]), Path("labels.nii.gz")).tolist()
        [0, 3]
    """
    if values.dtype.kind in "iu":
        return values
    if values.dtype.kind == "b":
        return values.astype(np.uint8)
    whole = is_whole(values)
    if not whole.all():
        first = float(values[~whole].flat[0])
        raise UserError(
            f"{path} holds other values than whole numbers: it is not a label map. The first is {first!r}. {TO_MEND}"
        )
    return in_smallest_type(np.rint(values).astype(np.int64))


TO_MEND = (
    "If it was resampled, repeat that with the nearest neighbour; if it is stored scaled, save whole numbers without "
    "a scale."
)
"""What to do about a label map that holds other values than whole numbers."""


def in_smallest_type(labels: Labels) -> Labels:
    """A label map in the smallest integer type that holds every value.

    Example:
        >>> in_smallest_type(np.array([0, 255])).dtype, in_smallest_type(np.array([0, 256])).dtype
        (dtype('uint8'), dtype('uint16'))
    """
    low, high = int(labels.min()), int(labels.max())
    fitting = next(kind for kind in _TYPES if np.iinfo(kind).min <= low and high <= np.iinfo(kind).max)
    return labels.astype(fitting, copy=False)
