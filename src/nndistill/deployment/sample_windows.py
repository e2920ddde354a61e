"""Windows of one image, to calibrate, check and time a network with."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from .backends.base import Array


def sample_windows(image: Array, patch_size: Sequence[int]) -> Iterator[Array]:
    """The middle of an image, then its corners, each place once; with zeros around an image that is smaller.

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
