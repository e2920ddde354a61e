"""What every runtime offers: the logits of one window, averaged over mirrorings."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt

from ...errors import UserError

Array = npt.NDArray[np.float32]
Mirroring = tuple[int, ...]
"""Spatial axes, 0 to 2, that are flipped; `()` flips none."""


class Backend(Protocol):
    """A network in a runtime.

    Attributes:
        name: The runtime's, such as `openvino`.
        device: The processor's or the GPU's name, for people.
    """

    name: str
    device: str

    def logits(self, window: Array, mirrorings: Sequence[Mirroring] = ((),)) -> Array:
        """The network's output for a window, averaged over mirrorings that are undone again.

        Args:
            window: (channels, D, H, W), contiguous; not changed.
            mirrorings: What to flip before and after the network, each mirroring once.

        Returns:
            (heads, D, H, W), float32; the caller may change it until the next call.
        """
        ...


def unreadable(file: Path, runtime: str, error: Exception) -> UserError:
    """The error for a network's file that a runtime refuses."""
    reason = (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")
    return UserError(f"{runtime} cannot read {file} ({reason}); it is damaged. Copy it again, or export again.")
