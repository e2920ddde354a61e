"""A volume that is predicted, and is so small that it was hardly meant."""

from __future__ import annotations

from collections.abc import Sequence

LEAST = 1 / 4
"""Share of the network's window that a volume fills along every axis, or a remark is made."""


def small_volume(shape: Sequence[int], patch_size: Sequence[int]) -> str | None:
    """Say that a volume is much smaller than a window of the network; nothing where it is not.

    nnU-Net predicts it with zeros around, of which a trained network may make anything.

    Args:
        shape: Of the preprocessed volume.
        patch_size: Of a window.
    """
    if all(size >= LEAST * patch for size, patch in zip(shape, patch_size, strict=True)):
        return None
    found, window = ("×".join(map(str, sizes)) for sizes in (shape, patch_size))
    return (
        f"only {found} voxels where the network sees {window} at a time: "
        "if that is a crop or a localiser, do not trust its label map."
    )
