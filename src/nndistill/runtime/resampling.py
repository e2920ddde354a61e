"""Resampling of images and logits with separable splines, equal to nnU-Net's default resampling."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.ndimage import map_coordinates
from scipy.sparse import csr_array

from .description import Resampling

ANISOTROPIC = 3.0
"""Ratio of the largest to the smallest spacing above which nnU-Net resamples the coarse axis separately."""

Array = npt.NDArray[np.float32]
Shape = tuple[int, int, int]


def compute_shape(shape: Sequence[int], spacing: Sequence[float], new_spacing: Sequence[float]) -> Shape:
    """Voxels along each axis after resampling to another spacing."""
    d, h, w = (round(old / new * n) for old, new, n in zip(spacing, new_spacing, shape, strict=True))
    return d, h, w


def resample(
    array: Array,
    shape: Sequence[int],
    *,
    current_spacing: Sequence[float],
    new_spacing: Sequence[float],
    resampling: Resampling,
) -> Array:
    r"""Resample every channel to another number of voxels; an array that has it already is returned as it is.

    Spline interpolation on a grid is linear and separable: $W_z X (W_y \otimes W_x)^\top$ with one sparse matrix per
    axis, many times faster than voxel by voxel, and equal up to rounding in double precision.

    Args:
        array: Image or logits.
        shape: D, H, W to resample to.
        current_spacing: Of `array`, in mm.
        new_spacing: Of the result, in mm.
        resampling: Orders, and whether the coarse axis is resampled separately.

    Shape:
        `(C, D, H, W)` to `(C, *shape)`. Besides the result it holds one channel in double precision.

    Source:
        nnU-Net 2.8.1, `resample_data_or_seg_to_shape`, which calls scikit-image's `resize` with edge padding.
    """
    if array.shape[1:] == tuple(shape):
        return array
    apart = separate_axis(current_spacing, new_spacing, resampling.force_separate_z)
    result = np.empty((len(array), *shape), array.dtype)
    for channel, resampled in zip(array, result, strict=True):
        _resample_channel(channel, resampled, apart, resampling)
    return result


def separate_axis(
    current_spacing: Sequence[float], new_spacing: Sequence[float], force_separate_z: bool | None
) -> int | None:
    """The coarse axis that is resampled separately, after each slice in plane; `None` if there is none."""
    if force_separate_z is False:
        return None
    spacings = [current_spacing] if force_separate_z else [current_spacing, new_spacing]
    for spacing in spacings:
        if force_separate_z or max(spacing) / min(spacing) > ANISOTROPIC:
            coarse = [axis for axis in range(3) if spacing[axis] == max(spacing)]
            return coarse[0] if len(coarse) == 1 else None
    return None


def _resample_channel(channel: Array, resampled: Array, apart: int | None, resampling: Resampling) -> None:
    """Resample every plane, then across the planes, into a given array."""
    across = 0 if apart is None else apart
    order_across = resampling.order if apart is None else resampling.order_z
    source, target = np.moveaxis(channel, across, 0), np.moveaxis(resampled, across, 0)
    over_z, over_y, over_x = (
        _weights(size, new_size, order)
        for size, new_size, order in zip(
            source.shape, target.shape, (order_across, resampling.order, resampling.order), strict=True
        )
    )
    overshoots = resampling.order > 1  # then scikit-image, which nnU-Net calls, clips to the range of the input
    between = np.empty((len(source), *target.shape[1:]))
    for plane, resampled_plane in zip(source, between, strict=True):
        resampled_plane[:] = _apply(over_x, _apply(over_y, plane.astype(np.float64)).T).T
        if overshoots and apart is not None:
            np.clip(resampled_plane, plane.min(), plane.max(), out=resampled_plane)
    for row in range(target.shape[1]):
        target[:, row] = _apply(over_z, between[:, row])
    if overshoots and apart is None:
        np.clip(target, source.min(), source.max(), out=target)


def _apply(weights: Any, array: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """A sparse product along the first axis: on one core, so that it does not slow down a network."""
    return array if weights is None else weights @ np.ascontiguousarray(array)


@lru_cache(maxsize=32)
def _weights(size: int, new_size: int, order: int) -> Any:
    """What each voxel along an axis contributes to each new voxel, `(new_size, size)`; `None` for the identity."""
    if size == new_size:
        return None
    centres = (np.arange(new_size) + 0.5) * (size / new_size) - 0.5
    units = np.eye(size)
    weights = np.stack([map_coordinates(unit, centres[None], order=order, mode="nearest") for unit in units], axis=1)
    weights[np.abs(weights) < np.finfo(np.float64).eps / 16] = 0  # a spline's reach fades by a factor of 4 per voxel
    return csr_array(weights)
