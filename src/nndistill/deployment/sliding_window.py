"""Prediction of a whole volume window by window, with nnU-Net's windows, weights and mirrorings."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from itertools import combinations, product
from math import ceil, floor

import numpy as np
import numpy.typing as npt
from scipy.ndimage import gaussian_filter

from ..errors import UserError
from .backends.base import Array, Backend, Mirroring
from .description import ModelDescription
from .preprocessing import Box, Mask, Preprocessed


def predict_logits(
    preprocessed: Preprocessed,
    backend: Backend,
    description: ModelDescription,
    *,
    overlap: float | None = None,
    mirror: bool = True,
    skip_air: bool = True,
    progress: Callable[[int, int], None] | None = None,
) -> Array:
    """Logits of a preprocessed image: the mean over all windows, weighted by a Gaussian around their centres.

    A window that holds nothing but air is not computed, so that logits inside the mask stay what they are; voxels of
    air that no window covers get logits of 0, which are background for labels as for regions.

    Args:
        preprocessed: The image.
        backend: The network.
        description: The model's: patch, overlap, mirroring axes.
        overlap: Instead of the description's.
        mirror: Average over all mirrorings that the model allows.
        skip_air: Leave out windows of air.
        progress: Told how many windows are done, of how many.

    Returns:
        `(heads, D, H, W)` of the image's size. Beside it there is one map of weights, and one window.

    Raises:
        UserError: The overlap is not from 0 to below 1.

    Source:
        nnU-Net 2.8.1, `nnUNetPredictor`, which sums in half precision where this sums in single: near the volume's
        corners, where weights are smallest, nnU-Net's sums keep few digits.
    """
    overlap = description.overlap if overlap is None else overlap
    padded, inner = _pad(preprocessed.array, description.patch_size)
    boxes = windows(padded.shape[1:], description.patch_size, overlap)
    if skip_air and preprocessed.mask is not None:
        boxes = [box for box in boxes if _holds_image(preprocessed.mask, box, inner, preprocessed.array.shape[1:])]
    flips = mirrorings(description.mirroring_axes if mirror else ())
    weight = gaussian(description.patch_size)
    logits = np.zeros((description.heads, *padded.shape[1:]), np.float32)
    weights = np.zeros(padded.shape[1:], np.float32)
    for done, box in enumerate(boxes):
        if progress:
            progress(done, len(boxes))
        window = np.ascontiguousarray(padded[(slice(None), *box)])
        _add(backend.logits(window, flips), weight, logits[(slice(None), *box)])
        weights[box] += weight
    if progress:
        progress(len(boxes), len(boxes))
    weights[weights == 0] = 1
    for head in logits:
        head /= weights
    return logits[(slice(None), *inner)]


def windows(shape: Sequence[int], patch_size: Sequence[int], overlap: float) -> list[Box]:
    """Where the windows lie: evenly spread from border to border, neighbours overlapping at least as wanted.

    Args:
        shape: Of the volume, at least `patch_size`.
        patch_size: Of a window.
        overlap: Share of a window that its neighbour covers too.

    Raises:
        UserError: The overlap is not from 0 to below 1.
    """
    if not 0 <= overlap < 1:
        raise UserError(f"the overlap of windows is from 0 to below 1, not {overlap:g}.")
    axes = []
    for size, patch in zip(shape, patch_size, strict=True):
        count = ceil((size - patch) / (patch * (1 - overlap))) + 1
        step = (size - patch) / max(count - 1, 1)
        axes.append([slice(start, start + patch) for start in (round(step * k) for k in range(count))])
    return list(product(*axes))


@lru_cache(maxsize=2)
def gaussian(patch_size: tuple[int, int, int]) -> npt.NDArray[np.float32]:
    """Weights of a window's voxels: a Gaussian of an eighth of its size, 10 in the centre, nowhere 0.

    The values are nnU-Net's, which are rounded to half precision; what rounds to 0 gets the least value above 0.
    """
    point = np.zeros(patch_size)
    point[tuple(size // 2 for size in patch_size)] = 1
    weight = gaussian_filter(point, [size / 8 for size in patch_size], mode="constant")
    weight = (weight / (weight.max() / 10)).astype(np.float32).astype(np.float16)  # as PyTorch rounds, twice
    weight[weight == 0] = weight[weight > 0].min()
    result: npt.NDArray[np.float32] = weight.astype(np.float32)
    result.flags.writeable = False
    return result


def mirrorings(axes: Sequence[int]) -> list[Mirroring]:
    """All sets of axes to flip, the empty one first."""
    return [flipped for count in range(len(axes) + 1) for flipped in combinations(axes, count)]


def _pad(array: Array, patch_size: Sequence[int]) -> tuple[Array, Box]:
    """Zeros around what is smaller than a window, the odd one behind; and where the image is in it."""
    missing = [max(0, patch - size) for size, patch in zip(array.shape[1:], patch_size, strict=True)]
    before = [count // 2 for count in missing]
    d, h, w = (slice(start, start + size) for start, size in zip(before, array.shape[1:], strict=True))
    if any(missing):
        around = [(start, count - start) for start, count in zip(before, missing, strict=True)]
        array = np.pad(array, [(0, 0), *around])
    return array, (d, h, w)


def _holds_image(mask: Mask, box: Box, inner: Box, shape: Sequence[int]) -> bool:
    """Whether a window holds a voxel that is not air, or one next to it.

    The mask is the one before resampling: what the window becomes there, and a voxel more where it is resampled.
    """
    found = []
    for window, image, new, old in zip(box, inner, shape, mask.shape, strict=True):
        margin, scale = int(new != old), old / new
        start, stop = window.start - image.start - margin, window.stop - image.start + margin
        found.append(slice(max(0, floor(start * scale)), max(0, ceil(stop * scale))))
    return bool(mask[tuple(found)].any())


def _add(output: Array, weight: npt.NDArray[np.float32], logits: Array) -> None:
    """Add a window's weighted logits, slice by slice: a slice stays in the processor's cache between the two steps."""
    for head, total in zip(output, logits, strict=True):
        for layer, layer_weight, layer_total in zip(head, weight, total, strict=True):
            layer *= layer_weight
            layer_total += layer
