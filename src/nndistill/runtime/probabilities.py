"""Probabilities of a case as files: nnU-Net's `.npz` with its `.pkl`, and NIfTI with one volume per label or region."""

from __future__ import annotations

import pickle
import shutil
from collections.abc import Collection, Sequence
from math import prod
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import SimpleITK

from ..errors import UserError
from ..files import atomic_path, write_file
from .cases import InputCase
from .description import ModelDescription
from .image import Geometry, image_size, itk_image, write_image
from .memory import gib
from .postprocessing import Array
from .preprocessing import Preprocessed

ProbabilityFormat = Literal["npz", "nifti"]
PROBABILITY_FORMATS: tuple[ProbabilityFormat, ...] = get_args(ProbabilityFormat)

NIFTI_FOLDER = "probabilities"
"""Holds the NIfTI files: next to the label maps they would pass for some."""

_BYTES = 4
_COPIES = {"npz": 1, "nifti": 3}


def probability_files(folder: Path, case: str, formats: Collection[ProbabilityFormat]) -> list[Path]:
    """Where the probabilities of a case are, or will be.

    Args:
        folder: Of the label maps.
        case: Its name.
        formats: Those that are wanted.
    """
    files = {
        "npz": [folder / f"{case}.npz", folder / f"{case}.pkl"],
        "nifti": [folder / NIFTI_FOLDER / f"{case}.nii.gz"],
    }
    return [file for name in formats for file in files[name]]


def write_probabilities(
    probabilities: Array,
    preprocessed: Preprocessed,
    geometry: Geometry,
    folder: Path,
    case: str,
    formats: Collection[ProbabilityFormat],
) -> None:
    """Write the probabilities of a case, each file completely or not at all.

    `CASE.npz` holds `probabilities`, `(heads, z, y, x)` in float32, and `CASE.pkl` what `nnUNetv2_ensemble` and other
    programs of nnU-Net read with it, both as nnU-Net writes them: in the orientation in which the network saw the
    image. `probabilities/CASE.nii.gz` is `(x, y, z, heads)` on the image's own grid.

    Args:
        probabilities: `(heads, z, y, x)`.
        preprocessed: What they were computed from.
        geometry: The image's.
        folder: Of the label maps.
        case: Its name.
        formats: Which files to write.

    Raises:
        UserError: A file cannot be written.

    Source:
        nnU-Net 2.8.1, `export_prediction_from_logits` with `save_probabilities`.
    """
    if "npz" in formats:
        array, properties = probability_files(folder, case, ["npz"])
        try:
            with atomic_path(array) as temporary, temporary.open("wb") as file:
                np.savez_compressed(file, probabilities=probabilities)
        except OSError as error:
            raise UserError(f"cannot write {array}: {error.strerror}.") from error
        write_file(properties, pickle.dumps(_properties(preprocessed, geometry)))
    if "nifti" in formats:
        [file_4d] = probability_files(folder, case, ["nifti"])
        write_image(SimpleITK.JoinSeries([itk_image(head, geometry) for head in probabilities]), file_4d)


def check_disk(
    folder: Path, cases: Sequence[InputCase], description: ModelDescription, formats: Collection[ProbabilityFormat]
) -> None:
    """Refuse a batch whose probabilities may not fit on the disk. Images that cannot be read do not count.

    Args:
        folder: Of the label maps; it exists.
        cases: Those that are to be predicted.
        description: The model's.
        formats: Which files will be written.

    Raises:
        UserError: They need more than is free if they cannot be compressed.
    """
    sizes = [size for case in cases if (size := image_size(next(iter(case.files.values()))))]
    needed = _BYTES * description.heads * len(formats) * sum(map(prod, sizes))
    if needed > (free := free_bytes(folder)):
        raise UserError(
            f"the probabilities are too large for the disk: {len(sizes)} case{'' if len(sizes) == 1 else 's'} with "
            f"{description.heads} outputs need up to {gib(needed)} before compression, and {folder} has {gib(free)} "
            "free. Free some space, or predict fewer cases at a time.",
            option=("probabilities", "probabilities_nifti"),
        )


def free_bytes(folder: Path) -> int:
    """What is free on the disk of a folder."""
    return shutil.disk_usage(folder).free


def copies_in_memory(formats: Collection[ProbabilityFormat]) -> int:
    """How many arrays of a case's probabilities are in memory at a time: ITK makes two more, to write and to check."""
    return max((_COPIES[name] for name in formats), default=0)


def _properties(preprocessed: Preprocessed, geometry: Geometry) -> dict[str, Any]:
    """What nnU-Net's readers and preprocessing say of the image, in plain types."""
    place: dict[str, Any] = {name: getattr(geometry, name) for name in ("spacing", "origin", "direction")}
    if geometry.written_orientation:
        place["original_orientation"] = geometry.written_orientation
    return {
        "sitk_stuff": place,
        "spacing": [abs(mm) for mm in reversed(geometry.spacing)],
        "shape_before_cropping": tuple(preprocessed.shape_before_cropping),
        "bbox_used_for_cropping": [[int(part.start), int(part.stop)] for part in preprocessed.bbox],
        "shape_after_cropping_and_before_resampling": tuple(preprocessed.shape_before_resampling),
    }
