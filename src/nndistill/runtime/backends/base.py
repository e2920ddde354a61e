"""What every runtime offers: the logits of one window, averaged over mirrorings."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt

from ...errors import UserError
from ..description import FILE_NAME, ModelDescription
from ..formats import Precision

Array = npt.NDArray[np.float32]
Mirroring = tuple[int, ...]
"""Axes of space, counted from 0, that are flipped; `()` flips none."""


class Backend(Protocol):
    """A network in a runtime.

    Attributes:
        name: The runtime's, such as `openvino`.
        device: The processor's or the GPU's name, for people.
        precision: The model's, or `float32` where the device cannot compute in it.
    """

    name: str
    device: str
    precision: Precision

    def logits(self, window: Array, mirrorings: Sequence[Mirroring] = ((),)) -> Array:
        """The network's output for a window, averaged over mirrorings that are undone again.

        Args:
            window: (channels, D, H, W), or of a network of two dimensions (channels, H, W), contiguous; not changed.
            mirrorings: What to flip before and after the network, each mirroring once.

        Returns:
            As the window, with heads in place of channels, float32; the caller may change it until the next call.
        """
        ...


def refuse_other_dimensions(file: Path, axes: int, description: ModelDescription) -> None:
    """Refuse a network's file that takes an input of another number of axes than its description says.

    Args:
        file: The network's.
        axes: Of its input, with batch and channels.
        description: What travels with it.

    Raises:
        UserError: It does.
    """
    ndim = len(description.patch_size)
    if axes - 2 != ndim:
        raise UserError(
            f"{file} is a network of {axes - 2} dimensions, and the description next to it is of one of {ndim}: they "
            "do not belong together. Copy the exported folder again, or export again."
        )


def unreadable(file: Path, runtime: str, error: Exception) -> UserError:
    """The error for a network's file that a runtime refuses, although it is the one that was exported."""
    lines = [line.strip() for line in str(error).splitlines()]
    reason = next((line for line in lines if line and not line.startswith("Exception from ")), type(error).__name__)
    return UserError(
        f"{runtime} cannot load {file} ({reason.rstrip('.')}), which is as it was exported: install the version of "
        f"{runtime} that {FILE_NAME} names, choose another device or runtime, or export the model again."
    )
