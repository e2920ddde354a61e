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


@dataclass(frozen=True)
class Volume:
    """A NIfTI file in memory.

    Args:
        path: The file.
        stored: The voxels as they are stored, before scaling, `(X, Y, Z)` or `(X, Y, Z, channels)`.
        scale: Slope and intercept of the stored values.
        affine: From voxels to mm to the right, to the front and upwards, `(4, 4)`.
        header: nibabel's.
    """

    path: Path
    stored: NDArray[Any]
    scale: tuple[float, float]
    affine: Affine
    header: Any

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
    """Read a NIfTI file to its last byte.

    Raises:
        UserError: The file is missing, not a NIfTI file, cut short, damaged, or does not hold numbers.
    """
    with _explained(path):
        content = path.read_bytes()
        if path.suffix == ".gz":
            content = gzip.decompress(content)
        image = nib.Nifti1Image.from_bytes(content)
        stored = image.dataobj.get_unscaled()
    if not (np.issubdtype(stored.dtype, np.number) or stored.dtype == np.bool_):
        raise UserError(f"{path} holds {stored.dtype} and not numbers.")
    return Volume(
        path=path,
        stored=stored,
        scale=(float(image.dataobj.slope), float(image.dataobj.inter)),
        affine=_valid_affine(path, image.affine),
        header=image.header,
    )


def read_grid(path: Path) -> Grid:
    """Read the header of a NIfTI file, and none of its voxels.

    Returns:
        A grid of as many axes as the file has.

    Raises:
        UserError: The file is missing, not a NIfTI file, or its header is damaged.
    """
    with _explained(path):
        image = nib.load(path)
    return Grid(path, image.shape, _valid_affine(path, image.affine))


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    """Raise what goes wrong while reading as a `UserError`."""
    try:
        yield
    except FileNotFoundError:
        raise UserError(f"{path} is missing.") from None
    except PermissionError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}.") from None
    except (EOFError, zlib.error) as error:
        raise UserError(f"{path} is cut short or damaged: {error}.") from error
    except (ImageFileError, HeaderDataError, WrapStructError, OSError, ValueError) as error:
        raise UserError(f"{path} cannot be read as NIfTI: {error}.") from error


def _valid_affine(path: Path, affine: Any) -> Affine:
    if affine is None or not np.isfinite(affine).all() or abs(np.linalg.det(affine)) < 1e-9:
        listed = "none" if affine is None else np.round(affine[:3], 3).tolist()
        raise UserError(f"{path} has no valid position in space (its affine is {listed}).")
    return np.asarray(affine, np.float64)


def write_nifti(path: Path, array: NDArray[Any], affine: Affine) -> None:
    """Write a compressed NIfTI file, whole or not at all; equal input gives equal bytes.

    The voxels keep the array's type, except that eight bytes per voxel become four.

    Args:
        path: Path of the file, ending in `.nii.gz`.
        array: `(X, Y, Z)`.
        affine: From voxels to mm to the right, to the front and upwards, `(4, 4)`.
    """
    header = nib.Nifti1Header()
    header.set_data_shape(array.shape)
    header.set_qform(affine, code=1)
    header.set_sform(affine, code=1)
    _write(path, array, header)


def write_nifti_like(path: Path, array: NDArray[Any], header: Any) -> None:
    """As `write_nifti`, at the position of another file, to the last bit of its header.

    nnU-Net warns even if two headers differ by rounding only.
    """
    own = nib.Nifti1Header()
    own.set_data_shape(array.shape)
    for field in _POSITION:
        own[field] = header[field]
    _write(path, array, own)


_POSITION = ("pixdim", "qform_code", "sform_code", "srow_x", "srow_y", "srow_z") + tuple(
    f"{kind}_{axis}" for kind, axes in (("quatern", "bcd"), ("qoffset", "xyz")) for axis in axes
)
"""Fields of a header that hold the position of the voxels in space."""


def _write(path: Path, array: NDArray[Any], header: Any) -> None:
    narrow = {"f8": np.float32, "i8": np.int32, "u8": np.uint32, "b1": np.uint8}.get(array.dtype.str[1:])
    array = array if narrow is None else array.astype(narrow)
    header.set_data_dtype(array.dtype)
    header.set_xyzt_units("mm")
    image = nib.Nifti1Image(array, None, header)
    write_file(path, gzip.compress(image.to_bytes(), compresslevel=1, mtime=0))
