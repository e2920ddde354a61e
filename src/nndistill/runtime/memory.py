"""Whether a case fits into the machine's memory, known before anything of it is read."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from pathlib import Path

import psutil

from ..errors import UserError
from .control_groups import memory_left
from .description import ModelDescription
from .resampling import compute_shape


def check_memory(
    file: Path,
    shape: Sequence[int],
    spacing: Sequence[float],
    description: ModelDescription,
    *,
    probability_copies: int = 0,
) -> None:
    """Refuse a volume that this machine cannot hold together with what is computed from it.

    Args:
        file: The volume's, for the message.
        shape: Its voxels (z, y, x).
        spacing: In mm.
        description: The model's.
        probability_copies: As in `case_bytes`.

    Raises:
        UserError: It needs more memory than is available.
    """
    needed = case_bytes(shape, spacing, description, probability_copies=probability_copies)
    available = available_bytes()
    if needed > available:
        size, at = "×".join(map(str, shape[::-1])), "×".join(f"{mm:.3g}" for mm in description.spacing)
        raise UserError(
            f"{file} is too large for this machine: {size} voxels, computed at {at} mm with {description.heads} "
            f"outputs, need {gib(needed)} of memory, {gib(available)} are available. "
            "Crop the volume to what is to be segmented, or use a machine with more memory."
        )


def case_bytes(
    shape: Sequence[int], spacing: Sequence[float], description: ModelDescription, *, probability_copies: int = 0
) -> int:
    """Most bytes that a case's arrays take at a time, without the network's own; cropping makes it less.

    Reading: the channels, and one as it is stored. Preprocessing: the channels, cropped, and resampled; of one channel
    the deviations or a copy in double precision; the mask. Computing: the channels, the logits, their weights, and a
    window in, out and its weights as they are made. Labelling: the channels, the logits; of a resampled image, a head,
    the largest so far and a copy in double precision; the labels; and so many copies of all probabilities as are given.
    """
    forward = description.transpose_forward
    transposed, mm = [shape[axis] for axis in forward], [spacing[axis] for axis in forward]
    network_shape = compute_shape(transposed, mm, description.spacing_of(mm))
    given, network, window = prod(shape), prod(network_shape), prod(description.patch_size)
    resampled = list(network_shape) != transposed
    between = 8 * prod(map(max, network_shape, transposed)) * resampled
    channels, heads = len(description.channels), description.heads
    reading = 4 * channels * given + 8 * given
    preprocessing = 4 * channels * (2 * given + network * resampled) + max(4 * given, between) + 2 * given
    computing = 4 * (channels + heads + 1) * network + 4 * (channels + heads + 6) * window
    labelling = 4 * (channels + heads) * network + 2 * 4 * given + between + 3 * given
    labelling += 4 * heads * given * probability_copies
    return max(reading, preprocessing, computing, labelling)


def available_bytes() -> int:
    """Memory that is available without swapping, within the limit of a container or of a cluster's job."""
    of_machine, of_groups = int(psutil.virtual_memory().available), memory_left()
    return of_machine if of_groups is None else min(of_machine, of_groups)


def gib(count: int) -> str:
    """A number of bytes for people."""
    return f"{count / 2**30:.1f} GiB"
