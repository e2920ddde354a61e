"""Read medical images and write label maps as nnU-Net does, and say in a sentence what is wrong with a file."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import numpy.typing as npt
import SimpleITK

from ..errors import UserError
from ..files import atomic_path
from .description import ModelDescription
from .memory import check_memory

NIFTI = (".nii", ".nii.gz")

SAME = 1e-3
"""Greatest difference of spacing and origin in mm, and of direction cosines, between the channels of a case."""


@dataclass(frozen=True)
class Geometry:
    """Where an image is in space, in ITK's order of axes (x, y, z).

    Attributes:
        size: Voxels.
        spacing: Voxel size in mm.
        origin: Centre of the first voxel in mm, to the left, to the back and upwards.
        direction: Direction cosines of the axes, row by row.
        written_orientation: Orientation of the file, to which label maps go back; `None` if it was not changed.
    """

    size: tuple[int, ...]
    spacing: tuple[float, ...]
    origin: tuple[float, ...]
    direction: tuple[float, ...]
    written_orientation: str | None = None


@dataclass(frozen=True)
class Image:
    """The channels of a case in memory.

    Attributes:
        array: `(C, z, y, x)`.
        spacing: Voxel size in mm, (z, y, x).
        geometry: Where it is in space.
        files: Where each channel came from.
    """

    array: npt.NDArray[np.float32]
    spacing: tuple[float, float, float]
    geometry: Geometry
    files: tuple[Path, ...]


def read_image(files: Sequence[Path], description: ModelDescription, *, any_orientation: bool = False) -> Image:
    """Read the channels of a case, one file per channel.

    Args:
        files: In the order of the model's channels.
        description: The model's, which knows the orientations.
        any_orientation: Accept images in other orientations than the training images'.

    Raises:
        UserError: A file is missing, damaged, cut short, not 3D, all zero or not finite; the channels are on different
            grids; the orientation differs from the training images'; or the machine has too little memory.

    Source:
        nnU-Net 2.8.1, `SimpleITKIO` and, if the description has `reorient_to`, `SimpleITKIOWithReorient`. nnU-Net
        only warns of channels at different places, and accepts what ITK makes of a damaged file. ITK, and so nnU-Net,
        reads NaN in a NIfTI file as 0.
    """
    geometries = [_read_geometry(file) for file in files]
    for file, geometry in zip(files[1:], geometries[1:], strict=True):
        _check_same_grid(file, geometry, files[0], geometries[0])
    if not (any_orientation or description.reorient_to):
        _check_orientation(files[0], geometries[0], description)
    check_memory(files[0], geometries[0].size[::-1], geometries[0].spacing[::-1], description)

    array: npt.NDArray[np.float32] | None = None
    for channel, file in enumerate(files):
        stored = _call(file, SimpleITK.ReadImage)
        if description.reorient_to:
            stored = SimpleITK.DICOMOrient(stored, description.reorient_to)
        voxels = SimpleITK.GetArrayViewFromImage(stored)
        if array is None:
            array = np.empty((len(files), *voxels.shape), np.float32)
            spacing, origin, direction = stored.GetSpacing(), stored.GetOrigin(), stored.GetDirection()
        with np.errstate(over="ignore"):  # a value that is too large becomes infinite, and is refused
            array[channel] = voxels
        _check_values(file, array[channel])
    assert array is not None
    x, y, z = map(abs, spacing)
    written = orientation(geometries[0]) if description.reorient_to else None
    place = Geometry(array.shape[:0:-1], spacing, origin, direction, written)
    return Image(array, (z, y, x), place, tuple(files))


def write_labels(labels: npt.NDArray[np.uint8 | np.uint16], geometry: Geometry, path: Path) -> None:
    """Write a compressed label map with the image's geometry, completely or not at all.

    Labels up to 254 are written in 8 bits, others in 16, as nnU-Net does (`SimpleITKIOWithReorient` always takes 8).

    Args:
        labels: `(z, y, x)`.
        geometry: The image's.
        path: Its ending is the format.

    Raises:
        UserError: It cannot be written.
    """
    image = SimpleITK.GetImageFromArray(labels.astype(np.uint8 if labels.max() < 255 else np.uint16, copy=False))
    image.SetSpacing(geometry.spacing)
    image.SetOrigin(geometry.origin)
    image.SetDirection(geometry.direction)
    if geometry.written_orientation:
        image = SimpleITK.DICOMOrient(image, geometry.written_orientation)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # ITK takes the format from the name: the unfinished file keeps it, in a folder of its own.
        with TemporaryDirectory(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent) as folder:
            whole = Path(folder) / path.name
            SimpleITK.WriteImage(image, str(whole), True)
            with atomic_path(path) as temporary:
                whole.replace(temporary)
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror}.") from error
    except RuntimeError as error:
        raise UserError(f"cannot write {path}: {_reason(error)}.") from error


def orientation(geometry: Geometry) -> str:
    """Where the axes (x, y, z) of an image point, in ITK's letters: `LPS` if its direction is the identity."""
    return str(SimpleITK.DICOMOrientImageFilter.GetOrientationFromDirectionCosines(geometry.direction))


def _read_geometry(file: Path) -> Geometry:
    if not file.is_file():
        raise UserError(f"{file} is missing.")
    length = _length(file)
    reader = _call(file, _read_header)
    if file.name.endswith(NIFTI):  # ITK silently reads zeros in place of what is cut off
        voxels = prod(reader.GetSize()) * int(reader.GetMetaData("bitpix")) // 8
        expected = int(float(reader.GetMetaData("vox_offset"))) + voxels
        if length < expected:
            raise UserError(f"{file} is cut short: it has {length} of {expected} bytes; copy it again.")
    if reader.GetNumberOfComponents() > 1:
        raise UserError(
            f"{file} holds {reader.GetNumberOfComponents()} values per voxel (colours or vectors): "
            "save each channel as a file of its own, CASE_0000, CASE_0001, …"
        )
    if reader.GetDimension() == 2:
        raise UserError(f"{file} is a 2D image; this model segments volumes.")
    if reader.GetDimension() != 3:
        size = "×".join(map(str, reader.GetSize()))
        raise UserError(
            f"{file} has {reader.GetDimension()} dimensions ({size}) and not three: save each channel or time point as "
            "a file of its own, CASE_0000, CASE_0001, …"
        )
    return Geometry(reader.GetSize(), reader.GetSpacing(), reader.GetOrigin(), reader.GetDirection())


def _length(file: Path) -> int:
    """Bytes of a file when unpacked, up to the checksum at its end, which ITK ignores."""
    if file.suffix != ".gz":
        return file.stat().st_size
    try:
        with gzip.open(file) as content:
            return sum(map(len, iter(lambda: content.read(1 << 20), b"")))
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise UserError(f"{file} is cut short or damaged ({error}); copy it again.") from error


def _read_header(name: str) -> Any:
    reader = SimpleITK.ImageFileReader()
    reader.SetFileName(name)
    reader.ReadImageInformation()
    return reader


def _check_same_grid(file: Path, geometry: Geometry, first: Path, expected: Geometry) -> None:
    for what, one, other in (
        ("size", geometry.size, expected.size),
        ("spacing", geometry.spacing, expected.spacing),
        ("origin", geometry.origin, expected.origin),
        ("direction", geometry.direction, expected.direction),
    ):
        if np.abs(np.subtract(one, other)).max() > SAME:
            raise UserError(
                f"{file} and {first} are not on one grid: {what} {_listed(one)} and {_listed(other)}. "
                "Register and resample the channels of a case onto one of them first."
            )


def _check_orientation(file: Path, geometry: Geometry, description: ModelDescription) -> None:
    found = orientation(geometry)
    if description.orientations and found not in description.orientations:
        raise UserError(
            f"{file} is oriented {found}, but the training images were {' or '.join(description.orientations)}: "
            "the network would see it turned or mirrored. Reorient it, or allow any orientation if that is intended.",
            option="any_orientation",
        )


def _check_values(file: Path, voxels: npt.NDArray[np.float32]) -> None:
    low, high = voxels.min(), voxels.max()
    if not np.isfinite([low, high]).all():
        raise UserError(f"{file} holds values that are not finite (NaN or infinity): repair it first.")
    if low == high == 0:
        raise UserError(f"{file} is empty: all its voxels are 0.")


def _call(file: Path, function: Callable[[str], Any]) -> Any:
    """Let ITK do something with a file, and turn its error into a sentence."""
    try:
        return function(str(file))
    except RuntimeError as error:
        raise UserError(f"{file} cannot be read as an image: {_reason(error)}.") from error


def _reason(error: RuntimeError) -> str:
    """The last line of what ITK says."""
    return str(error).strip().splitlines()[-1].removeprefix("sitk::ERROR: ").rstrip(".")


def _listed(numbers: Sequence[float]) -> str:
    return f"({', '.join(f'{number:.8g}' for number in numbers)})"
