"""The training cases of a data set in nnU-Net's raw format, wherever their files are."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ...dataset_json import channel_names
from ...errors import UserError
from ...files import read_json
from .case import Case

_LISTED = '"case": {"images": ["case_0000.nii.gz"], "label": "case.nii.gz"}'


def raw_cases(folder: Path) -> list[Case]:
    """List the training cases: those in the entry `dataset` of `dataset.json`, or else those that have a label map.

    Each case counts as a patient of its own.

    Args:
        folder: `DatasetXXX_Name`.

    Raises:
        UserError: `dataset.json` is missing or cannot be read, or its entry `dataset` does not list cases and files.
    """
    source = folder / "dataset.json"
    description = read_json(source)
    if "dataset" in description:
        return _listed_cases(folder, description["dataset"], str(source))
    ending, channels = description["file_ending"], range(len(channel_names(description, source=str(source))))
    labels = sorted((folder / "labelsTr").glob(f"*{ending}"))
    return [_case(folder, label.name.removesuffix(ending), channels, ending) for label in labels]


def _listed_cases(folder: Path, listed: Any, source: str) -> list[Case]:
    if not isinstance(listed, Mapping):
        raise UserError(f"{source}: the entry dataset has to map the name of each case to its files, as in {_LISTED}.")
    cases = []
    for name, files in listed.items():
        match files:
            case {"images": [str(), *_] as images, "label": str(label)} if all(isinstance(i, str) for i in images):
                paths = tuple(_path(folder, image) for image in images)
                cases.append(Case(name, name, paths, _path(folder, label)))
            case _:
                raise UserError(f"{source}: the entry dataset lists no files for the case {name!r}; write {_LISTED}.")
    return cases


def _case(folder: Path, name: str, channels: range, ending: str) -> Case:
    images = tuple(folder / "imagesTr" / f"{name}_{channel:04d}{ending}" for channel in channels)
    return Case(name, name, images, folder / "labelsTr" / f"{name}{ending}")


def _path(folder: Path, listed: str) -> Path:
    return folder / os.path.expandvars(listed)
