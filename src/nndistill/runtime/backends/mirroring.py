"""The mean of a network's output over mirrorings of its input."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from .base import Array, Mirroring


class MirroringAverage:
    """Compute a network for a window and its mirror images, in memory that is allocated once.

    Args:
        compute: Runs the network on the content of `input`; its result is read before the next call.
        input: (channels, D, H, W), or without D, the array that the network reads.
        output_shape: The same with heads in place of channels.
    """

    def __init__(self, compute: Callable[[], Array], *, input: Array, output_shape: tuple[int, ...]) -> None:
        self._compute = compute
        self._input = input
        self._sum = np.empty(output_shape, np.float32)

    def __call__(self, window: Array, mirrorings: Sequence[Mirroring]) -> Array:
        """See `Backend.logits`."""
        for number, mirroring in enumerate(mirrorings):
            np.copyto(self._input, _flipped(window, mirroring))
            output = _flipped(self._compute(), mirroring)
            if len(mirrorings) == 1:
                return output
            if number == 0:
                np.copyto(self._sum, output)
            else:
                self._sum += output
        self._sum *= np.float32(1 / len(mirrorings))
        return self._sum


def _flipped(array: Array, mirroring: Mirroring) -> Array:
    """A view."""
    return array[(slice(None), *(slice(None, None, -1 if axis in mirroring else 1) for axis in range(array.ndim - 1)))]
