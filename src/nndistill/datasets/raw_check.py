"""Check a whole data set in nnU-Net's raw format before hours are spent on it."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from ..errors import UserError
from ..files import read_json
from .raw import check_same_grid, read_nifti


def check_raw_dataset(folder: Path, *, progress: Callable[[int, int], None] | None = None) -> None:
    """Read every training case and refuse the first that is not as it should be.

    Checked are NIfTI files, other types are left to nnU-Net: all channels and labels are there, can be read, lie on
    one grid, hold finite numbers, and labels that `dataset.json` names.

    Args:
        folder: `DatasetXXX_Name`.
        progress: Called with the number of checked cases and of all.

    Raises:
        UserError: One sentence that names the file and what is wrong with it.
    """
    description = read_json(folder / "dataset.json")
    for key in ("channel_names", "labels", "numTraining", "file_ending"):
        if key not in description:
            raise UserError(f"{folder / 'dataset.json'} has no {key!r}, which nnU-Net needs.")
    ending = description["file_ending"]
    if ending not in {".nii", ".nii.gz"} or "dataset" in description:
        return
    labels = sorted((folder / "labelsTr").glob(f"*{ending}"))
    if len(labels) != description["numTraining"]:
        raise UserError(
            f"{folder / 'dataset.json'} promises {description['numTraining']} training cases, but "
            f"{folder / 'labelsTr'} holds {len(labels)}."
        )
    allowed = _values(description["labels"])
    channels = range(len(description["channel_names"]))

    def check(label: Path) -> None:
        case = label.name.removesuffix(ending)
        _check_case(label, [folder / "imagesTr" / f"{case}_{c:04d}{ending}" for c in channels], allowed)

    with ThreadPoolExecutor(os.cpu_count()) as pool:  # threads: decompression does not hold the interpreter's lock
        for done, _ in enumerate(pool.map(check, labels), start=1):
            if progress is not None:
                progress(done, len(labels))


def _check_case(label: Path, images: list[Path], allowed: set[int]) -> None:
    values, affine = read_nifti(label)
    present = np.unique(values)
    unknown = [value for value in present if value not in allowed]
    if unknown:
        raise UserError(
            f"{label} holds the label {unknown[0]:g}, which dataset.json does not name "
            f"(it names {', '.join(map(str, sorted(allowed)))})."
        )
    for image in images:
        intensities, image_affine = read_nifti(image)
        check_same_grid(image, intensities.shape, image_affine, of=label, expected=values.shape, expected_affine=affine)
        if not np.isfinite(intensities).all():
            raise UserError(f"{image} holds NaN or infinite intensities; mend or leave out this case.")


def _values(labels: dict[str, int | list[int]]) -> set[int]:
    return {v for value in labels.values() for v in (value if isinstance(value, list) else [value])}
