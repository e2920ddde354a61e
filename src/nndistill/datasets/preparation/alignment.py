"""Bring images of one examination that have different grids onto one grid."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import UserError
from ...volumes.grid import Affine, Grid
from ...volumes.nifti import Volume

ENOUGH = 0.5
"""Share of the smaller of two volumes that has to be inside the other."""


def resample_onto(array: NDArray[Any], affine: Affine, onto: Grid, *, nearest: bool = False) -> NDArray[Any]:
    """Resample an image at the voxels of another grid; zero outside the image.

    Args:
        array: The image, `(X, Y, Z)`.
        affine: From the image's voxels to mm to the right, to the front and upwards, `(4, 4)`.
        onto: The other grid.
        nearest: Take the nearest voxel's value, as for labels, instead of a linear interpolation.

    Returns:
        An array of shape `onto.shape`: of the image's type if `nearest`, otherwise float32.
    """
    import SimpleITK

    image = SimpleITK.GetImageFromArray((array if nearest else array.astype(np.float32)).T)
    _set_place(image, affine)
    target = SimpleITK.Image([int(n) for n in onto.shape], image.GetPixelID())
    _set_place(target, onto.affine)
    how = SimpleITK.sitkNearestNeighbor if nearest else SimpleITK.sitkLinear
    moved = SimpleITK.Resample(image, target, SimpleITK.Transform(), how, 0.0)
    return np.asarray(SimpleITK.GetArrayFromImage(moved)).T


def check_alignable(volume: Volume) -> None:
    """Refuse an image whose header does not say unambiguously where it is.

    Raises:
        UserError: It has no orientation, or two that differ by more than half a voxel.
    """
    if volume.place.form == "neither":
        raise UserError(
            f"{volume.path} says nothing about its orientation (qform and sform codes are 0): it cannot be aligned."
        )
    if volume.place.other is None:
        return
    apart = volume.grid.apart(volume.place.other)
    if apart > 0.5 * volume.grid.spacing.min():
        raise UserError(
            f"{volume.path} names two places in space, its qform and its sform, up to {apart:.3g} mm apart: "
            "nndistill does not guess which one is right."
        )


def check_overlap(grid: Grid, onto: Grid) -> None:
    """Refuse two images that do not show the same part of the body.

    Raises:
        UserError: Less than half of each is inside the other.
    """
    shared = max(grid.share_inside(onto), onto.share_inside(grid))
    if shared < ENOUGH:
        raise UserError(
            f"{grid.path} and {onto.path} cannot be aligned: by their headers "
            + ("they do not overlap in space." if shared == 0 else f"only {shared:.0%} of the smaller overlap.")
        )


def _set_place(image: Any, affine: Affine) -> None:
    """Tell ITK where an image is, in our frame; ITK's own makes no difference as long as both images use the same."""
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    image.SetSpacing(spacing.tolist())
    image.SetDirection((affine[:3, :3] / spacing).ravel().tolist())
    image.SetOrigin(affine[:3, 3].tolist())
