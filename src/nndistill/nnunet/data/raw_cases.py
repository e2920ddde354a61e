"""The training cases of a data set in nnU-Net's raw format, wherever their files are."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from ...files import read_json
from .case import Case


def raw_cases(folder: Path) -> list[Case]:
    """List the training cases: those in the entry `dataset` of `dataset.json`, or else those that have a label map.

    Each case counts as a patient of its own.

    Args:
        folder: `DatasetXXX_Name`.

    Raises:
        UserError: `dataset.json` is missing or cannot be read.
    """
    description = read_json(folder / "dataset.json")
    if "dataset" in description:
        return [
            Case(name, name, tuple(_path(folder, image) for image in files["images"]), _path(folder, files["label"]))
            for name, files in description["dataset"].items()
        ]
    ending, channels = description["file_ending"], range(len(channel_names(description)))
    labels = sorted((folder / "labelsTr").glob(f"*{ending}"))
    return [_case(folder, label.name.removesuffix(ending), channels, ending) for label in labels]


def channel_names(description: dict[str, Any]) -> list[str]:
    """Names of the channels in the order of their numbers, from the content of a `dataset.json`, old or new."""
    names = description.get("channel_names") or description["modality"]
    return [str(names[key]) for key in sorted(names, key=int)]


def _case(folder: Path, name: str, channels: range, ending: str) -> Case:
    images = tuple(folder / "imagesTr" / f"{name}_{channel:04d}{ending}" for channel in channels)
    return Case(name, name, images, folder / "labelsTr" / f"{name}{ending}")


def _path(folder: Path, listed: str) -> Path:
    return folder / os.path.expandvars(listed)
