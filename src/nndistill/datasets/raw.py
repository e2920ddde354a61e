"""nnU-Net's raw format: folder and file names, `dataset.json`, and NIfTI files read and written with care.

A data set is a folder `Dataset004_Hippocampus` with `dataset.json`, one file a channel
`imagesTr/<case>_0000.nii.gz`, `imagesTr/<case>_0001.nii.gz`, …, and `labelsTr/<case>.nii.gz`.
"""

from __future__ import annotations

import gzip
import re
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from nibabel.filebasedimages import ImageFileError
from nibabel.spatialimages import HeaderDataError
from numpy.typing import NDArray

from ..errors import UserError
from ..files import write_file, write_json

FILE_ENDING = ".nii.gz"

Affine = NDArray[np.float64]


def dataset_folder(raw: Path, dataset_id: int, name: str) -> Path:
    """Where nnU-Net looks for a data set: `raw / "DatasetXXX_Name"`.

    Raises:
        UserError: The number is not from 1 to 999, or the name has other characters than letters, digits, `-` and `_`.
    """
    if not 1 <= dataset_id <= 999:
        raise UserError(f"a data set's number is from 1 to 999, not {dataset_id}.")
    if not re.fullmatch(r"[A-Za-z0-9_-]+", name):
        raise UserError(f"the data set's name {name!r} may only hold letters, digits, '-' and '_'.")
    return raw / f"Dataset{dataset_id:03d}_{name}"


def image_name(case: str, channel: int) -> str:
    """File name of one channel of a case."""
    return f"{case}_{channel:04d}{FILE_ENDING}"


def label_name(case: str) -> str:
    """File name of the labels of a case."""
    return f"{case}{FILE_ENDING}"


def write_dataset_json(
    folder: Path, *, channels: Sequence[str], labels: Mapping[str, int], training: int, **extra: object
) -> None:
    """Write `dataset.json`, whole or not at all.

    Args:
        folder: The data set's folder.
        channels: Names of the channels, in the order of their numbers.
        labels: Values by name, `background` 0 among them.
        training: Number of training cases.
        **extra: Further entries, which nnU-Net keeps and does not read.
    """
    content = {
        "channel_names": {str(k): name for k, name in enumerate(channels)},
        "labels": dict(labels),
        "numTraining": training,
        "file_ending": FILE_ENDING,
        **extra,
    }
    write_json(folder / "dataset.json", content)


def write_nifti(path: Path, array: NDArray[Any], affine: Affine) -> None:
    """Write a compressed NIfTI file, whole or not at all; equal input gives equal bytes.

    The type of the voxels is the array's own, eight bytes a voxel become four.

    Args:
        path: Where to, ending in `.nii.gz`.
        array: `(X, Y, Z)`.
        affine: From voxels to mm to the right, to the front and upwards, `(4, 4)`.
    """
    narrow = {"f8": np.float32, "i8": np.int32, "u8": np.uint32, "b1": np.uint8}.get(array.dtype.str[1:])
    image = nib.Nifti1Image(array if narrow is None else array.astype(narrow), affine)
    image.set_qform(affine, code=1)
    image.set_sform(affine, code=1)
    image.header.set_xyzt_units("mm")
    write_file(path, gzip.compress(image.to_bytes(), compresslevel=1, mtime=0))


def read_nifti(path: Path) -> tuple[NDArray[Any], Affine]:
    """Voxels, scaled as the header says, and affine of a NIfTI file.

    Raises:
        UserError: The file is missing, no NIfTI file, cut short, damaged, or holds something else than numbers.
    """
    try:
        image = nib.load(path)
        array, affine = np.asanyarray(image.dataobj), image.affine
    except FileNotFoundError:
        raise UserError(f"{path} is missing.") from None
    except (EOFError, zlib.error) as error:
        raise UserError(f"{path} is cut short or damaged: {error}.") from error
    except (ImageFileError, HeaderDataError, OSError, ValueError) as error:
        raise UserError(f"{path} cannot be read as NIfTI: {error}.") from error
    if not (np.issubdtype(array.dtype, np.number) or array.dtype == np.bool_):
        raise UserError(f"{path} holds {array.dtype} and not numbers.")
    if affine is None or not np.isfinite(affine).all() or abs(np.linalg.det(affine)) < 1e-9:
        raise UserError(f"{path} has no valid position in space (its affine is {_listed(affine)}).")
    return array, np.asarray(affine, np.float64)


def check_same_grid(
    path: Path, shape: Sequence[int], affine: Affine, *, of: Path, expected: Sequence[int], expected_affine: Affine
) -> None:
    """Refuse two volumes that are not voxel by voxel at the same place.

    Args:
        path: File of the first volume.
        shape: Its shape.
        affine: Its affine.
        of: File of the second volume.
        expected: The second's shape.
        expected_affine: The second's affine.

    Raises:
        UserError: The shapes differ, or some corner is off by more than a twentieth of a voxel.
    """
    if tuple(shape) != tuple(expected):
        raise UserError(f"{path} has shape {_times(shape)}, but {of} has {_times(expected)}.")
    corners = np.array(np.meshgrid(*((0, n - 1) for n in shape), [1], indexing="ij")).reshape(4, -1)
    apart = np.linalg.norm(((affine - expected_affine) @ corners)[:3], axis=0).max()
    voxel = np.linalg.norm(affine[:3, :3], axis=0).min()
    if apart > 0.05 * voxel:
        raise UserError(
            f"{path} and {of} lie at different places: up to {apart:.3g} mm apart "
            f"(affines {_listed(affine)} and {_listed(expected_affine)})."
        )


def _times(shape: Sequence[int]) -> str:
    return "×".join(map(str, shape))


def _listed(affine: Affine | None) -> str:
    return "none" if affine is None else str(np.round(affine[:3], 3).tolist())
