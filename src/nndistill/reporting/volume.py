"""Reading what is shown: NIfTI files, turned so that all look the same way."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from ..errors import UserError
from ..volumes.label_values import whole_numbers
from ..volumes.nifti import read_volume
from .figures.view_selection import Volume


class Image(NamedTuple):
    """Voxels `(x, y, z)`, x to the patient's right, y to the front, z to the head, and their size in mm."""

    voxels: Volume
    spacing: tuple[float, float, float]


def read_image(path: Path) -> Image:
    """Read a NIfTI file and turn it to RAS.

    Raises:
        UserError: It is missing or damaged.
    """
    voxels, grid = read_volume(path).in_ras()
    if voxels.ndim != 3:
        raise UserError(f"{path} has {voxels.ndim} axes, not three.")
    x, y, z = grid.spacing.tolist()
    return Image(voxels, (x, y, z))


def read_labels(path: Path) -> Volume:
    """Read a label map as `read_image` reads an image.

    Raises:
        UserError: It is missing or damaged, or holds other values than whole numbers.
    """
    return whole_numbers(read_image(path).voxels, path)
