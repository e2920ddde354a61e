"""Prediction of a whole volume window by window, with nnU-Net's windows, weights and mirrorings."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from itertools import combinations, product
from math import ceil, floor
from typing import NamedTuple

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

    A window that holds nothing but air is not computed, which leaves the logits inside the mask as they are; voxels
    of air that no window covers get logits of 0, which mean background for labels and for regions.

    Args:
        preprocessed: The image.
        backend: The network.
        description: The model's: patch, overlap, mirroring axes.
        overlap: Instead of the description's.
        mirror: Average over all mirrorings that the model allows.
        skip_air: Leave out windows of air.
        progress: Called with the number of finished windows and of all.

    Returns:
        `(heads, D, H, W)` of the image's size. Besides it, one map of weights and one window are in memory.

    Raises:
        UserError: The overlap is below 0, or 1 or more.

    Source:
        nnU-Net 2.8.1, `nnUNetPredictor`, which sums in half precision while this sums in single: near the volume's
        corners, where weights are smallest, nnU-Net's sums keep few digits.
    """
    image = preprocessed.array
    boxes = [
        _place(box, image.shape[1:], description.patch_size)
        for box in windows(
            [max(size, patch) for size, patch in zip(image.shape[1:], description.patch_size, strict=True)],
            description.patch_size,
            description.overlap if overlap is None else overlap,
        )
    ]
    if skip_air and preprocessed.mask is not None:
        boxes = [box for box in boxes if _holds_image(preprocessed.mask, box.image, image.shape[1:])]
    flips = mirrorings(description.mirroring_axes if mirror else ())
    weight = gaussian(description.patch_size)
    logits = np.zeros((description.heads, *image.shape[1:]), np.float32)
    weights = np.zeros(image.shape[1:], np.float32)
    window = np.zeros((len(image), *description.patch_size), np.float32)  # what a small image does not fill stays 0
    for done, box in enumerate(boxes):
        if progress:
            progress(done, len(boxes))
        window[(slice(None), *box.window)] = image[(slice(None), *box.image)]
        output = backend.logits(window, flips)
        _add(output[(slice(None), *box.window)], weight[box.window], logits[(slice(None), *box.image)])
        weights[box.image] += weight[box.window]
    if progress:
        progress(len(boxes), len(boxes))
    weights[weights == 0] = 1
    for head in logits:
        head /= weights
    return logits


def windows(shape: Sequence[int], patch_size: Sequence[int], overlap: float) -> list[Box]:
    """Places of the windows: evenly spread from border to border, neighbours overlapping at least as requested.

    Args:
        shape: Of the volume, at least `patch_size`.
        patch_size: Of a window.
        overlap: Share of a window that its neighbour covers too.

    Raises:
        UserError: The overlap is below 0, or 1 or more.
    """
    if not 0 <= overlap < 1:
        raise UserError(f"the overlap of windows has to be at least 0 and below 1, not {overlap:g}.", option="overlap")
    axes = []
    for size, patch in zip(shape, patch_size, strict=True):
        count = ceil((size - patch) / (patch * (1 - overlap))) + 1
        step = (size - patch) / max(count - 1, 1)
        axes.append([slice(start, start + patch) for start in (round(step * k) for k in range(count))])
    return list(product(*axes))


@lru_cache(maxsize=2)
def gaussian(patch_size: tuple[int, int, int]) -> npt.NDArray[np.float32]:
    """Weights of a window's voxels: a Gaussian of an eighth of its size, 10 in the centre, nowhere 0.

    The values are nnU-Net's, which are rounded to half precision; those that round to 0 get the least value above 0.
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


def sample_windows(image: Array, patch_size: Sequence[int]) -> Iterator[Array]:
    """The middle of an image, then its corners, each place once; a smaller image is padded with zeros.

    Args:
        image: `(C, D, H, W)`.
        patch_size: Of a window.

    Yields:
        `(C, *patch_size)`, contiguous.
    """
    missing = [max(0, wanted - given) for wanted, given in zip(patch_size, image.shape[1:], strict=True)]
    padded = np.pad(image, [(0, 0), *((count // 2, count - count // 2) for count in missing)])
    room = [given - wanted for wanted, given in zip(patch_size, padded.shape[1:], strict=True)]
    middle = tuple(free // 2 for free in room)
    corners = [(z, y, x) for z in (0, room[0]) for y in (0, room[1]) for x in (0, room[2])]
    for place in dict.fromkeys([middle, *corners]):
        box = tuple(slice(start, start + size) for start, size in zip(place, patch_size, strict=True))
        yield np.ascontiguousarray(padded[(slice(None), *box)])


class _Place(NamedTuple):
    """Where a window is in the image, and where the image is in the window."""

    image: Box
    window: Box


def _place(box: Box, shape: Sequence[int], patch_size: Sequence[int]) -> _Place:
    """An image that is smaller than a window is in its middle, with zeros around it, one more behind if uneven."""
    image, window = [], []
    for part, size, patch in zip(box, shape, patch_size, strict=True):
        before = max(0, patch - size) // 2
        image.append(slice(part.start, min(part.stop, size)))
        window.append(slice(before, before + image[-1].stop - image[-1].start))
    return _Place((image[0], image[1], image[2]), (window[0], window[1], window[2]))


def _holds_image(mask: Mask, box: Box, shape: Sequence[int]) -> bool:
    """Whether a window holds a voxel that is not air, or one next to it.

    The mask is the one before resampling: the window is mapped there, one voxel larger along resampled axes.
    """
    found = []
    for part, size, size_before in zip(box, shape, mask.shape, strict=True):
        margin, scale = int(size != size_before), size_before / size
        found.append(slice(max(0, floor((part.start - margin) * scale)), ceil((part.stop + margin) * scale)))
    return bool(mask[tuple(found)].any())


def _add(output: Array, weight: npt.NDArray[np.float32], logits: Array) -> None:
    """Add a window's weighted logits, slice by slice: a slice stays in the processor's cache between the two steps."""
    for head, total in zip(output, logits, strict=True):
        for layer, layer_weight, layer_total in zip(head, weight, total, strict=True):
            layer *= layer_weight
            layer_total += layer
