"""nnU-Net's raw format: folder and file names, and `dataset.json`.

A data set is a folder `Dataset004_Hippocampus` with `dataset.json`, one file a channel
`imagesTr/<case>_0000.nii.gz`, `imagesTr/<case>_0001.nii.gz`, …, and `labelsTr/<case>.nii.gz`; or an entry `dataset` in
`dataset.json` names the training cases' files, wherever they are.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from ...errors import UserError
from ...files import update_json
from .case import LabelValues

FILE_ENDING = ".nii.gz"


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
    folder: Path, *, channels: Sequence[str], labels: LabelValues, training: int, **extra: object
) -> None:
    """Write `dataset.json`, whole or not at all; one that says the same stays.

    Args:
        folder: The data set's folder.
        channels: Names of the channels, in the order of their numbers.
        labels: Values by name, `background` 0 among them.
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
