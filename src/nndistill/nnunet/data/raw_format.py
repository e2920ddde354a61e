"""nnU-Net's raw format: folder and file names, and `dataset.json`.

A data set is a folder `Dataset004_Hippocampus` with `dataset.json`, one file per case and channel
`imagesTr/<case>_0000.nii.gz`, `imagesTr/<case>_0001.nii.gz`, …, and one label map per case `labelsTr/<case>.nii.gz`.
Instead, an entry `dataset` in `dataset.json` can name the training cases' files, wherever they are.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from ...errors import UserError
from ...files import update_json
from .case import LabelValues

FILE_ENDING = ".nii.gz"


def new_dataset_folder(raw: Path, dataset_id: int, name: str) -> Path:
    """Where nnU-Net will look for a data set: `raw / "DatasetXXX_Name"`; nothing is made.

    Raises:
        UserError: The number is not from 1 to 999, or the name has other characters than letters, digits, `-` and `_`.

    Example:
        >>> new_dataset_folder(Path("nnUNet_raw"), 4, "Hippocampus").as_posix()
        'nnUNet_raw/Dataset004_Hippocampus'
    """
    if not 1 <= dataset_id <= 999:
        raise UserError(f"a data set's number is from 1 to 999, not {dataset_id}.", option="dataset_id")
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
    folder: Path, *, channels: Sequence[str], labels: LabelValues, training: int, **extra: object
) -> None:
    """Write `dataset.json`, completely or not at all, unless the file says the same already.

    Args:
        folder: The data set's folder.
        channels: Names of the channels, in the order of their numbers.
        labels: Values by name, including `background` 0.
        training: Number of training cases.
        **extra: Further entries.
    """
    content = {
        "channel_names": {str(k): name for k, name in enumerate(channels)},
        "labels": dict(labels),
        "numTraining": training,
        "file_ending": FILE_ENDING,
        **extra,
    }
    update_json(folder / "dataset.json", content)
