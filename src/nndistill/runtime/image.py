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
from ..volumes.grid import Grid, is_same_grid
from ..volumes.nifti_header import GZIP, missing, read_nifti_header
from .description import ModelDescription
from .memory import check_memory

NIFTI = (".nii", ".nii.gz")


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
        remarks: What to keep in mind about the files, in sentences.
    """

    array: npt.NDArray[np.float32]
    spacing: tuple[float, float, float]
    geometry: Geometry
    files: tuple[Path, ...]
    remarks: tuple[str, ...] = ()


def read_image(
    files: Sequence[Path],
    description: ModelDescription,
    *,
    any_orientation: bool = False,
    allow_empty_channel: bool = False,
    probability_copies: int = 0,
) -> Image:
    """Read the channels of a case, one file per channel.

    Args:
        files: In the order of the model's channels.
        description: The model's, which knows the orientations.
        any_orientation: Accept images in other orientations than the training images'.
        allow_empty_channel: Accept channels that are all zero, as long as one is not; each gets a remark.
        probability_copies: How often the memory has to hold the probabilities that will be made of the image.

    Raises:
        UserError: A file is missing, damaged, cut short, not 3D, all zero or not finite; the channels are on different
            grids (see `nndistill.volumes.grid.is_same_grid`); the orientation differs from the training images'; or
            the machine has too little memory.

    Source:
        nnU-Net 2.8.1, `SimpleITKIO` and, if the description has `reorient_to`, `SimpleITKIOWithReorient`. nnU-Net
        only warns of channels at different places, and accepts what ITK makes of a damaged file. ITK, and so nnU-Net,
        reads NaN in a NIfTI file as 0.
    """
    read = [_read_geometry(file) for file in files]
    geometries, remarks = [geometry for geometry, _ in read], [remark for _, remark in read if remark]
    for file, geometry in zip(files[1:], geometries[1:], strict=True):
        _check_same_grid(file, geometry, files[0], geometries[0], remarks)
    if not (any_orientation or description.reorient_to):
        _check_orientation(files[0], geometries[0], description)
    size, mm = geometries[0].size[::-1], geometries[0].spacing[::-1]
    check_memory(files[0], size, mm, description, probability_copies=probability_copies)

    array: npt.NDArray[np.float32] | None = None
    for channel, file in enumerate(files):
        stored = _call(file, SimpleITK.ReadImage)
        if description.reorient_to:
            stored = SimpleITK.DICOMOrient(stored, description.reorient_to)
        voxels = SimpleITK.GetArrayViewFromImage(stored).reshape(stored.GetSize()[::-1])
        if array is None:
            array = np.empty((len(files), *voxels.shape), np.float32)
            spacing, origin, direction = stored.GetSpacing(), stored.GetOrigin(), stored.GetDirection()
        with np.errstate(over="ignore"):  # a value that is too large becomes infinite, and is refused
            array[channel] = voxels
        if _is_empty(file, array[channel]):
            if not allow_empty_channel:
                raise UserError(
                    f"{file} is empty: all its voxels are 0. If this contrast was not acquired, allow an empty "
                    "channel; a network that was trained without such cases may make anything of it.",
                    option="allow_empty_channel",
                )
            remarks.append(f"the channel {description.channels[channel].name} is empty: all voxels of {file} are 0.")
    assert array is not None
    if not array.any():
        raise UserError(f"{files[0]} is empty: all voxels of all channels are 0.")
    x, y, z = map(abs, spacing)
    written = orientation(geometries[0]) if description.reorient_to else None
    place = Geometry(array.shape[:0:-1], spacing, origin, direction, written)
    return Image(array, (z, y, x), place, tuple(files), tuple(remarks))


def write_labels(labels: npt.NDArray[np.uint8 | np.uint16], geometry: Geometry, path: Path) -> None:
    """Write a compressed label map with the image's geometry, completely or not at all.

    Labels up to 254 are written in 8 bits, others in 16, as nnU-Net does (`SimpleITKIOWithReorient` always takes 8).
    The file is read again before it takes its place.

    Args:
        labels: `(z, y, x)`.
        geometry: The image's.
        path: Its ending is the format.

    Raises:
        UserError: It cannot be written, or holds other values than the label map.
    """
    narrow = labels.astype(np.uint8 if labels.max() < 255 else np.uint16, copy=False)
    if not np.array_equal(narrow, labels):
        raise UserError(f"{path} cannot hold the label {labels.max()}: nnU-Net writes label maps in 16 bits.")
    write_image(itk_image(narrow, geometry), path)


def itk_image(array: npt.NDArray[Any], geometry: Geometry) -> Any:
    """An array as ITK's image, in the orientation of the file that the geometry is from.

    Args:
        array: `(z, y, x)`.
        geometry: Where it is.
    """
    image = SimpleITK.GetImageFromArray(array)
    image.SetSpacing(geometry.spacing)
    image.SetOrigin(geometry.origin)
    image.SetDirection(geometry.direction)
    return SimpleITK.DICOMOrient(image, geometry.written_orientation) if geometry.written_orientation else image


def write_image(image: Any, path: Path) -> None:
    """Write ITK's image, compressed, completely or not at all; the file is read again before it takes its place.

    Args:
        image: Of any dimension.
        path: Its ending is the format.

    Raises:
        UserError: It cannot be written, or holds other values than the image.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # ITK takes the format from the name: the unfinished file keeps it, in a folder of its own.
        with TemporaryDirectory(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent) as folder:
            whole = Path(folder) / path.name
            SimpleITK.WriteImage(image, str(whole), True)
            written = SimpleITK.ReadImage(str(whole))  # kept as long as its view
            if not np.array_equal(*map(SimpleITK.GetArrayViewFromImage, (written, image))):
                raise UserError(f"{path} was not written: what was read back differs. Check the disk.")
            with atomic_path(path) as temporary:
                whole.replace(temporary)
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror}.") from error
    except RuntimeError as error:
        raise UserError(f"cannot write {path}: {_reason(error)}.") from error


def image_size(file: Path) -> tuple[int, ...] | None:
    """Voxels along each axis (x, y, z) according to the header; `None` if it cannot be read."""
    try:
        size: tuple[int, ...] = _read_header(str(file)).GetSize()
    except RuntimeError:
        return None
    return size


def orientation(geometry: Geometry) -> str:
    """Where the axes (x, y, z) of an image point, in ITK's letters: `LPS` if its direction is the identity."""
    return str(SimpleITK.DICOMOrientImageFilter.GetOrientationFromDirectionCosines(geometry.direction))


def grid_of(file: Path, geometry: Geometry) -> Grid:
    """The voxels in mm to the right, to the front and upwards; ITK points to the left and to the back."""
    affine = np.eye(4)
    affine[:3, :3] = np.reshape(geometry.direction, (3, 3)) * np.abs(geometry.spacing)
    affine[:3, 3] = geometry.origin
    return Grid(file, geometry.size, np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine)


def _read_geometry(file: Path) -> tuple[Geometry, str | None]:
    """Where an image is, and a remark if its file states two places."""
    if not file.is_file():
        raise UserError(missing(file))
    length, compressed = _length(file)
    named = file.name.lower()
    if compressed and named.endswith(".nii"):  # which ITK does not recognise
        raise UserError(f"{file} is compressed, though its name does not end in .gz: rename it, or decompress it.")
    remark = None
    if named.endswith(NIFTI):  # first, since it says why a file is none; ITK says that it found no reader
        header = read_nifti_header(file)
        if length < header.length:  # ITK silently reads zeros in place of what is cut off
            raise UserError(f"{file} is cut short: it has {length} of {header.length} bytes; copy it again.")
        remark = header.remark
    reader = _call(file, _read_header)
    if named.endswith(".gipl") and length < (needed := _gipl_length(reader)):  # ITK reads whatever is in memory there
        raise UserError(f"{file} is cut short: it has {length} of {needed} bytes; copy it again.")
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
    return Geometry(reader.GetSize(), reader.GetSpacing(), reader.GetOrigin(), reader.GetDirection()), remark


def _length(file: Path) -> tuple[int, bool]:
    """Bytes of a file when unpacked, up to the checksum at its end, which ITK ignores; and whether it was packed."""
    try:
        with file.open("rb") as content:
            if content.read(2) != GZIP:
                return file.stat().st_size, False
        with gzip.open(file) as content:
            return sum(map(len, iter(lambda: content.read(1 << 20), b""))), True
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise UserError(f"{file} is cut short or damaged ({error}); copy it again.") from error


def _gipl_length(reader: Any) -> int:
    """Bytes that a GIPL file has according to its header, which is 256 bytes long."""
    voxel = SimpleITK.Image([1] * reader.GetDimension(), reader.GetPixelID(), reader.GetNumberOfComponents())
    bytes_per_value: int = voxel.GetSizeOfPixelComponent()
    return 256 + prod(map(int, reader.GetSize())) * int(reader.GetNumberOfComponents()) * bytes_per_value


def _read_header(name: str) -> Any:
    reader = SimpleITK.ImageFileReader()
    reader.SetFileName(name)
    reader.ReadImageInformation()
    return reader


def _check_same_grid(file: Path, geometry: Geometry, first: Path, expected: Geometry, remarks: Sequence[str]) -> None:
    if is_same_grid(grid_of(file, geometry), grid_of(first, expected)):
        return
    what, one, other = next(
        (what, one, other)
        for what, one, other in (
            ("size", geometry.size, expected.size),
            ("spacing", geometry.spacing, expected.spacing),
            ("origin", geometry.origin, expected.origin),
            ("direction", geometry.direction, expected.direction),
        )
        if not np.allclose(one, other, rtol=1e-6, atol=1e-6 * min(expected.spacing))
    )
    forms = "".join(f" {remark}" for remark in remarks)
    raise UserError(
        f"{file} and {first} are not on one grid: {what} {_listed(one)} and {_listed(other)}. "
        f"Register and resample the channels of a case onto one of them first.{forms}"
    )


def _check_orientation(file: Path, geometry: Geometry, description: ModelDescription) -> None:
    found = orientation(geometry)
    if description.orientations and found not in description.orientations:
        raise UserError(
            f"{file} is oriented {found}, but the training images were {' or '.join(description.orientations)}: "
            "the network would see it turned or mirrored. Reorient it, or allow any orientation if that is intended.",
            option="any_orientation",
        )


def _is_empty(file: Path, voxels: npt.NDArray[np.float32]) -> bool:
    low, high = voxels.min(), voxels.max()
    if not np.isfinite([low, high]).all():
        raise UserError(f"{file} holds values that are not finite (NaN or infinity): repair it first.")
    return bool(low == high == 0)


def _call(file: Path, function: Callable[[str], Any]) -> Any:
    """Let ITK do something with a file, and turn its error into a sentence."""
    try:
        return function(str(file))
    except RuntimeError as error:
        raise UserError(f"{file} cannot be read as an image: {_reason(error)}.") from error


def _reason(error: RuntimeError) -> str:
    """The last line of what ITK says, but for the state of the system, which often has nothing to do with it."""
    lines = [line for line in str(error).strip().splitlines() if not line.startswith("Reason: ")]
    return lines[-1].removeprefix("sitk::ERROR: ").rstrip(".")


def _listed(numbers: Sequence[float]) -> str:
    return f"({', '.join(f'{number:.8g}' for number in numbers)})"
