"""Reading the probabilities of a case: nnU-Net's `.npz` with its `.pkl`, or NIfTI with one volume per output."""

from __future__ import annotations

import pickle
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK
from numpy._core.multiarray import _reconstruct, scalar
from numpy.typing import NDArray

from ..errors import UserError
from ..runtime.image import Geometry, itk_image
from ..runtime.probabilities import probability_files
from ..volumes.grid import Grid, is_same_grid
from ..volumes.nifti import read_volume
from .pairing import listed

Probabilities = NDArray[np.floating[Any]]

_ROUNDING = 1e-3
"""By how much a probability may be outside of 0 to 1; nnU-Net may store them in half precision."""


def find_probabilities(folder: Path, cases: Sequence[str]) -> dict[str, Path]:
    """The file of each case: `CASE.npz` with `CASE.pkl`, or else `probabilities/CASE.nii.gz`.

    Raises:
        UserError: There is no such folder, or some cases have none in it; the message lists them.
    """
    if not folder.is_dir():
        raise UserError(f"there is no folder {folder} of probabilities.", option="probabilities")
    found, problems = {}, []
    for case in cases:
        array, properties = probability_files(folder, case, ["npz"])
        [nifti] = probability_files(folder, case, ["nifti"])
        file = next((file for file in (array, nifti) if file.is_file()), None)
        if file is None:
            problems.append(f"{case} has neither {array.name} nor {nifti.relative_to(folder)}.")
        elif file == array and not properties.is_file():
            problems.append(f"{array} has no {properties.name} next to it, which nnU-Net writes with it.")
        else:
            found[case] = file
    if problems:
        raise UserError(
            listed(problems, f"{folder} lacks probabilities; predict with them, or evaluate without."),
            option="probabilities",
        )
    return found


def read_probabilities(file: Path, *, outputs: int, grid: Grid) -> Probabilities:
    """Read probabilities on the grid of the reference.

    Args:
        file: From `find_probabilities`.
        outputs: How many labels (with the background) or regions there are.
        grid: The reference's.

    Returns:
        `(outputs, X, Y, Z)`.

    Raises:
        UserError: The file cannot be read, has other outputs or is elsewhere, or holds what is no probability.
    """
    array = _read_npz(file) if file.suffix == ".npz" else _read_nifti(file, grid)
    if array.shape != (outputs, *grid.shape):
        found, wanted = ("×".join(map(str, sizes)) or "1" for sizes in (array.shape, (outputs, *grid.shape)))
        raise UserError(f"{file} holds {found} values and not {wanted} (outputs and voxels of the reference).")
    if array.dtype.kind != "f" or not (array.min() >= -_ROUNDING and array.max() <= 1 + _ROUNDING):  # nor is NaN
        raise UserError(f"{file} holds values that are no probabilities between 0 and 1.")
    return array


def _read_nifti(file: Path, grid: Grid) -> Probabilities:
    volume = read_volume(file)
    if not is_same_grid(volume.grid, grid):
        raise UserError(f"{file} and {grid.path} are not on one grid: they do not belong together.")
    array = volume.array
    return np.moveaxis(array if array.ndim == 4 else array[..., None], 3, 0)


def _read_npz(file: Path) -> Probabilities:
    try:
        with np.load(file, allow_pickle=False) as content:
            array: Probabilities = content["probabilities"]
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        reason = str(error).strip("'\"").rstrip(".")
        raise UserError(f"{file} cannot be read as nnU-Net's probabilities: {reason}.") from error
    if array.ndim != 4:
        return array
    properties = file.with_suffix(".pkl")
    place = _place(properties)
    if "original_orientation" in place:
        array = _reoriented(array, place, properties)
    return array.transpose(0, 3, 2, 1)


def _reoriented(array: Probabilities, place: dict[str, Any], properties: Path) -> Probabilities:
    """From the orientation in which the network saw the image to that of its file, `(outputs, z, y, x)`."""
    try:
        spacing, origin, direction = (tuple(place[name]) for name in ("spacing", "origin", "direction"))
        geometry = Geometry(array.shape[:0:-1], spacing, origin, direction, place["original_orientation"])
        return np.stack([SimpleITK.GetArrayFromImage(itk_image(head, geometry)) for head in array])
    except (KeyError, TypeError, RuntimeError) as error:
        raise UserError(f"{properties} does not say where the image is: {error}.") from error


def _place(properties: Path) -> dict[str, Any]:
    """What ITK said of the image, from nnU-Net's `.pkl`; empty if another library read the image."""
    try:
        with properties.open("rb") as file:
            content = _NumbersOnly(file).load()
        place = dict(content.get("sitk_stuff", {}))
        turned = "reoriented_affine" in content.get("nibabel_stuff", {})
    except pickle.UnpicklingError as error:
        raise UserError(f"{properties} was not read: {error}.") from error
    except Exception as error:  # of a damaged pickle any
        raise UserError(f"{properties} is damaged and cannot be read.") from error
    if turned:
        raise UserError(
            f"{properties} belongs to an image that nnU-Net turned with nibabel (NibabelIOWithReorient), which is not "
            "undone here: give NIfTI files."
        )
    return place


class _NumbersOnly(pickle.Unpickler):
    """Reads plain types and numpy's numbers; anything else in a pickle could run code."""

    def find_class(self, module: str, name: str) -> Any:
        of_numpy = module in ("numpy", "numpy.core.multiarray", "numpy._core.multiarray")
        if not of_numpy or name not in _OF_NUMPY:
            raise pickle.UnpicklingError(f"it holds the Python object {module}.{name}, which could run code")
        return _OF_NUMPY[name]


_OF_NUMPY = {"dtype": np.dtype, "ndarray": np.ndarray, "scalar": scalar, "_reconstruct": _reconstruct}
