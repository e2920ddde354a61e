"""From an image to the network's input: transposed, cropped, normalised and resampled as nnU-Net does it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from scipy.ndimage import binary_fill_holes

from ..errors import UserError
from ..volumes.bounding_box import bounding_box, whole_box
from .description import ModelDescription, Normalization
from .image import Image
from .resampling import Shape, compute_shape, resample

Array = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]
Box = tuple[slice, slice, slice]

TINY = 1e-8
"""nnU-Net's least divisor."""

LEAST_SHARE = 1 / 4
"""Share of the network's window below which a volume gets a remark, along any axis."""


@dataclass(frozen=True)
class Preprocessed:
    """What the network sees, and how to get back.

    Axes are in the network's order, after `transpose_forward`.

    Attributes:
        array: `(C, D, H, W)`, normalised, at the network's spacing.
        mask: Which voxels of the cropped image, before resampling, are not air (0 in all channels, with holes filled);
            `None` if none is air.
        shape_before_cropping: Of the image.
        bbox: The box that it was cropped to.
        shape_before_resampling: Of that box.
        spacing_before: Of the image in mm.
    """

    array: Array
    mask: Mask | None
    shape_before_cropping: Shape
    bbox: Box
    shape_before_resampling: Shape
    spacing_before: tuple[float, float, float]


def preprocess(image: Image, description: ModelDescription) -> Preprocessed:
    """Preprocess an image, which stays as it is.

    Raises:
        UserError: A channel that should hold colours does not.

    Source:
        nnU-Net 2.8.1, `DefaultPreprocessor.run_case_npy`.
    """
    forward = description.transpose_forward
    transposed = image.array.transpose(0, *(axis + 1 for axis in forward))
    z, y, x = (image.spacing[axis] for axis in forward)
    box, mask = _nonzero(transposed)
    cropped = transposed[(slice(None), *box)]
    normalised = np.empty(cropped.shape, np.float32)
    for channel, how in enumerate(description.channels):
        _normalise(cropped[channel], mask, how.normalization, image.files[channel], normalised[channel])
    spacing = description.spacing_of((z, y, x))
    shape = compute_shape(normalised.shape[1:], (z, y, x), spacing)
    if 0 in shape:
        raise UserError(
            f"{image.files[0]} is thinner than half a voxel of the network: "
            f"{'×'.join(map(str, normalised.shape[1:]))} voxels of {(z, y, x)} mm, to become {spacing} mm."
        )
    resampled = resample(
        normalised,
        shape,
        current_spacing=(z, y, x),
        new_spacing=spacing,
        resampling=description.resample_data,
    )
    return Preprocessed(
        array=resampled,
        mask=mask,
        shape_before_cropping=_shape(transposed),
        bbox=box,
        shape_before_resampling=_shape(normalised),
        spacing_before=(z, y, x),
    )


def small_volume(shape: Sequence[int], patch_size: Sequence[int]) -> str | None:
    """Say that a volume is much smaller than a window of the network; `None` if it is not.

    nnU-Net predicts it padded with zeros, of which a trained network may make anything.

    Args:
        shape: Of the preprocessed volume.
        patch_size: Of a window, which may be of two axes.
    """
    shape = shape[-len(patch_size) :]
    if all(size >= LEAST_SHARE * patch for size, patch in zip(shape, patch_size, strict=True)):
        return None
    found, window = ("×".join(map(str, sizes)) for sizes in (shape, patch_size))
    return (
        f"only {found} voxels, while the network sees {window} at a time: "
        "if that is a crop or a localiser, do not trust its label map."
    )


def _nonzero(array: Array) -> tuple[Box, Mask | None]:
    """The box around all voxels that are not air (0 in all channels), and a mask of them in it, holes filled."""
    mask = array[0] != 0
    for channel in array[1:]:
        mask |= channel != 0
    z, y, x = bounding_box(mask) or whole_box(mask.shape)
    mask = mask[z, y, x]
    return (z, y, x), None if mask.all() else binary_fill_holes(mask)


def _normalise(channel: Array, mask: Mask | None, how: Normalization, file: Path, out: Array) -> None:
    """Write a channel into `out`, normalised."""
    if how.scheme == "ZScoreNormalization":
        _standardise(channel, mask if how.use_mask else None, out)
    elif how.scheme == "CTNormalization":
        assert how.mean is not None
        assert how.std is not None
        np.clip(channel, how.percentile_00_5, how.percentile_99_5, out=out)
        out -= how.mean
        out /= max(how.std, TINY)
    elif how.scheme == "RescaleTo01Normalization":
        np.subtract(channel, channel.min(), out=out)
        out /= np.clip(out.max(), TINY, None)
    elif how.scheme == "RGBTo01Normalization":
        if channel.min() < 0 or channel.max() > 255:
            raise UserError(
                f"{file} should hold colours from 0 to 255, as the training images did, but its values go from "
                f"{channel.min():g} to {channel.max():g}."
            )
        np.divide(channel, 255.0, out=out)
    else:
        out[:] = channel


def _standardise(channel: Array, mask: Mask | None, out: Array) -> None:
    inside = channel if mask is None else channel[mask]
    mean, deviation = inside.mean(), max(inside.std(), TINY)
    if mask is None:
        np.subtract(channel, mean, out=out)
        out /= deviation
    else:
        out[:] = channel
        out[mask] = (inside - mean) / deviation


def _shape(array: Array) -> Shape:
    _, d, h, w = array.shape
    return d, h, w
