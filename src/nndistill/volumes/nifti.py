"""Reading and writing NIfTI files: damage is reported in a sentence, and a file is written whole or not at all."""

from __future__ import annotations

import gzip
import hashlib
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from nibabel.filebasedimages import ImageFileError
from nibabel.orientations import apply_orientation, inv_ornt_aff, io_orientation
from nibabel.spatialimages import HeaderDataError
from nibabel.wrapstruct import WrapStructError
from numpy.typing import NDArray

from ..errors import UserError
from ..files import write_file
from .grid import Affine, Grid
from .label_values import Labels, in_smallest_type
from .nifti_header import GZIP, NiftiHeader, missing, nifti_header, read_nifti_header, refuse_other_file


@dataclass(frozen=True)
class Volume:
    """A NIfTI file in memory.

    Args:
        path: The file.
        stored: The voxels as they are stored, before scaling, `(X, Y, Z)` or `(X, Y, Z, channels)`, without trailing
            axes of one voxel, in the machine's byte order.
        scale: Slope and intercept of the stored values.
        place: Where they are.
        is_compressed: Whether the file is.
        header: nibabel's.
    """

    path: Path
    stored: NDArray[Any]
    scale: tuple[float, float]
    place: NiftiHeader
    is_compressed: bool
    header: Any

    @property
    def affine(self) -> Affine:
        """From voxels to mm to the right, to the front and upwards, `(4, 4)`."""
        return self.place.grid.affine

    @property
    def array(self) -> NDArray[Any]:
        """The voxels, scaled as the header says."""
        slope, intercept = self.scale
        return self.stored if self.scale == (1, 0) else self.stored * slope + intercept

    @property
    def digest(self) -> str:
        """SHA-256 of the stored voxels, whatever header and compression they are stored with."""
        return hashlib.sha256(np.ascontiguousarray(self.stored.T).data).hexdigest()

    @property
    def grid(self) -> Grid:
        """The position of the voxels in space."""
        return Grid(self.path, self.stored.shape[:3], self.affine)

    def in_ras(self) -> tuple[NDArray[Any], Grid]:
        """The scaled voxels and their grid with axes flipped and exchanged, not resampled, to point closest to RAS.

        RAS: x increases to the patient's right, y to the front and z to the head.
        """
        turn = io_orientation(self.affine)
        array = apply_orientation(self.array, turn)
        return array, Grid(self.path, array.shape[:3], self.affine @ inv_ornt_aff(turn, self.stored.shape[:3]))


def read_volume(path: Path) -> Volume:
    """Read a NIfTI file to its last byte, compressed or not, whatever its name says of that.

    Raises:
        UserError: The file is missing, not a NIfTI file, cut short, damaged, or does not hold real numbers.
    """
    with _explained(path):
        content = path.read_bytes()
        is_compressed = content[:2] == GZIP
        if is_compressed:
            content = gzip.decompress(content)
        refuse_other_file(path, content)
        if not is_compressed and path.suffix == ".gz" and not content.startswith(_STARTS):
            raise UserError(
                f"{path} cannot be read as NIfTI: Not a gzipped file, nor a NIfTI file without compression."
            )
        place = nifti_header(path, content)
        if len(content) < place.length:
            raise UserError(
                f"{path} cannot be read as NIfTI: it is cut short, with {len(content)} of {place.length} bytes."
            )
        image = nib.Nifti1Image.from_bytes(content)
        stored = image.dataobj.get_unscaled().reshape(place.grid.shape, order="F")
    stored = stored.astype(stored.dtype.newbyteorder("="), copy=False)  # pandas refuses the other byte order
    if stored.dtype.kind not in "iuf":
        raise UserError(f"{path} holds {stored.dtype} and not real numbers.")
    return Volume(
        path=path,
        stored=stored,
        scale=(float(image.dataobj.slope), float(image.dataobj.inter)),
        place=place,
        is_compressed=is_compressed,
        header=image.header,
    )


_STARTS = ((348).to_bytes(4, "little"), (348).to_bytes(4, "big"))
"""How a NIfTI file without compression begins."""


def read_grid(path: Path) -> Grid:
    """Read the header of a NIfTI file, and none of its voxels.

    Returns:
        A grid of as many axes as the file has, without trailing axes of one voxel after the third.

    Raises:
        UserError: The file is missing, not a NIfTI file, or its header is damaged.
    """
    return read_nifti_header(path).grid


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    """Raise what goes wrong while reading as a `UserError`."""
    try:
        yield
    except FileNotFoundError:
        raise UserError(missing(path)) from None
    except PermissionError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}.") from None
    except (EOFError, zlib.error) as error:
        raise UserError(f"{path} is cut short or damaged: {error}.") from error
    except (ImageFileError, HeaderDataError, WrapStructError, OSError, ValueError) as error:
        raise UserError(f"{path} cannot be read as NIfTI: {error}.") from error


def write_nifti(path: Path, array: NDArray[Any], affine: Affine) -> None:
    """Write a compressed NIfTI file, whole or not at all; equal input gives equal bytes.

    The voxels keep the array's type, except that eight bytes per voxel become four if they hold every whole number.

    Args:
        path: Path of the file, ending in `.nii.gz`.
        array: `(X, Y, Z)`.
        affine: From voxels to mm to the right, to the front and upwards, `(4, 4)`.

    Raises:
        UserError: It cannot be written.
    """
    header = nib.Nifti1Header()
    header.set_qform(affine, code=1)
    header.set_sform(affine, code=1)
    header.set_xyzt_units("mm")
    _write(path, array, _in_four_bytes(array), header)


def write_nifti_like(path: Path, array: NDArray[Any], header: Any) -> None:
    """As `write_nifti`, at the position of another file, to the last bit of its header.

    nnU-Net warns even if two headers differ by rounding only.
    """
    _write(path, array, _in_four_bytes(array), _at_the_place_of(header))


def write_labels_like(path: Path, labels: Labels, header: Any) -> None:
    """As `write_nifti_like`, in the smallest type that holds every value of a label map."""
    _write(path, labels, in_smallest_type(labels), _at_the_place_of(header))


def _at_the_place_of(header: Any) -> Any:
    own = nib.Nifti1Header()
    for field in _POSITION:
        own[field] = header[field]
    return own


_POSITION = ("pixdim", "xyzt_units", "qform_code", "sform_code", "srow_x", "srow_y", "srow_z") + tuple(
    f"{kind}_{axis}" for kind, axes in (("quatern", "bcd"), ("qoffset", "xyz")) for axis in axes
)
"""Fields of a header that hold the position of the voxels in space."""


def _write(path: Path, array: NDArray[Any], stored: NDArray[Any], header: Any) -> None:
    """Write an array as `stored`, the same in another type, and compare whole numbers with what was asked for."""
    header.set_data_dtype(stored.dtype)
    content = nib.Nifti1Image(stored, None, header).to_bytes()
    if array.dtype.kind in "iu" and not np.array_equal(nib.Nifti1Image.from_bytes(content).dataobj, array):
        raise RuntimeError(f"{path}: the values after writing are not those before")
    write_file(path, gzip.compress(content, compresslevel=1, mtime=0))


def _in_four_bytes(array: NDArray[Any]) -> NDArray[Any]:
    """The array in a type of at most four bytes, which is all that nnU-Net reads; whole numbers only if they fit."""
    kind, size = array.dtype.kind, array.dtype.itemsize
    if kind == "b":
        return array.astype(np.uint8)
    if kind == "f" and size != 4:
        return array.astype(np.float32)
    if kind in "iu" and size == 8:
        narrow = array.astype(np.int32 if kind == "i" else np.uint32)
        return narrow if np.array_equal(narrow, array) else array
    return array
