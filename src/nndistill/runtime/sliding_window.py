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

    A network of two dimensions computes every slice, the first axis, by itself.

    A window that holds nothing but air is not computed, which leaves the logits inside the mask as they are; voxels
    of air that no window covers get logits of 0, which mean background for labels and for regions. Probabilities need
    `covered_voxels` besides.

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
    block = in_volume(description.patch_size)
    boxes = _places(preprocessed, description, overlap=overlap, skip_air=skip_air)
    flips = mirrorings(description.mirroring_axes if mirror else ())
    weight = gaussian(description.patch_size).reshape(block)
    logits = np.zeros((description.heads, *image.shape[1:]), np.float32)
    weights = np.zeros(image.shape[1:], np.float32)
    window = np.zeros((len(image), *block), np.float32)  # what a small image does not fill stays 0
    seen = window.reshape(len(image), *description.patch_size)
    for done, box in enumerate(boxes):
        if progress:
            progress(done, len(boxes))
        window[(slice(None), *box.window)] = image[(slice(None), *box.image)]
        output = backend.logits(seen, flips).reshape(description.heads, *block)
        _add(output[(slice(None), *box.window)], weight[box.window], logits[(slice(None), *box.image)])
        weights[box.image] += weight[box.window]
    if progress:
        progress(len(boxes), len(boxes))
    weights[weights == 0] = 1
    for head in logits:
        head /= weights
    return logits


def covered_voxels(
    preprocessed: Preprocessed, description: ModelDescription, *, overlap: float | None = None
) -> Mask | None:
    """Which voxels some window covers where windows of air are left out, `(D, H, W)`; `None` if all are covered.

    Args:
        preprocessed: The image.
        description: The model's: patch and overlap.
        overlap: Instead of the description's.

    Raises:
        UserError: The overlap is below 0, or 1 or more.
    """
    covered = np.zeros(preprocessed.array.shape[1:], np.bool_)
    for place in _places(preprocessed, description, overlap=overlap, skip_air=True):
        covered[place.image] = True
    return None if covered.all() else covered


def windows(shape: Sequence[int], patch_size: Sequence[int], overlap: float) -> list[Box]:
    """Places of the windows: evenly spread from border to border, neighbours overlapping at least as requested.

    Args:
        shape: Of the volume; along an axis that is shorter than a window, there is one that is longer.
        patch_size: Of a window; if it has two axes, there are windows in every slice.
        overlap: Share of a window that its neighbour covers too.

    Raises:
        UserError: The overlap is below 0, or 1 or more.
    """
    check_overlap(overlap)
    slices = shape[: len(shape) - len(patch_size)]
    axes = [[slice(place, place + 1) for place in range(count)] for count in slices]
    for size, patch in zip(shape[len(slices) :], patch_size, strict=True):
        room = max(0, size - patch)
        count = ceil(room / (patch * (1 - overlap))) + 1
        step = room / max(count - 1, 1)
        axes.append([slice(start, start + patch) for start in (round(step * k) for k in range(count))])
    return list(product(*axes))


def check_overlap(overlap: float) -> None:
    """Refuse an overlap of windows that leads to no windows.

    Raises:
        UserError: It is below 0, or 1 or more.
    """
    if not 0 <= overlap < 1:
        raise UserError(f"the overlap of windows has to be at least 0 and below 1, not {overlap:g}.", option="overlap")


def in_volume(patch_size: Sequence[int]) -> tuple[int, int, int]:
    """What a window covers of a volume: one of two axes covers a slice.

    Example:
        >>> in_volume((64, 48)), in_volume((32, 64, 48))
        ((1, 64, 48), (32, 64, 48))
    """
    *depth, height, width = patch_size
    return (*depth, height, width) if depth else (1, height, width)  # type: ignore[return-value]


@lru_cache(maxsize=2)
def gaussian(patch_size: tuple[int, ...]) -> npt.NDArray[np.float32]:
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
        patch_size: Of a window, which may be of two axes.

    Yields:
        `(C, *patch_size)`, contiguous.
    """
    block = in_volume(patch_size)
    missing = [max(0, wanted - given) for wanted, given in zip(block, image.shape[1:], strict=True)]
    padded = np.pad(image, [(0, 0), *((count // 2, count - count // 2) for count in missing)])
    room = [given - wanted for wanted, given in zip(block, padded.shape[1:], strict=True)]
    middle = tuple(free // 2 for free in room)
    corners = [(z, y, x) for z in (0, room[0]) for y in (0, room[1]) for x in (0, room[2])]
    for place in dict.fromkeys([middle, *corners]):
        box = tuple(slice(start, start + size) for start, size in zip(place, block, strict=True))
        yield np.ascontiguousarray(padded[(slice(None), *box)]).reshape(len(image), *patch_size)


class _Place(NamedTuple):
    """Where a window is in the image, and where the image is in the window."""

    image: Box
    window: Box


def _places(
    preprocessed: Preprocessed, description: ModelDescription, *, overlap: float | None, skip_air: bool
) -> list[_Place]:
    """The windows that are computed."""
    shape, patch_size = preprocessed.array.shape[1:], description.patch_size
    boxes = windows(shape, patch_size, description.overlap if overlap is None else overlap)
    places = [_place(box, shape, in_volume(patch_size)) for box in boxes]
    if not skip_air or preprocessed.mask is None:
        return places
    return [place for place in places if _holds_image(preprocessed.mask, place.image, shape)]


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
