"""The files of the cases in a report: predictions, images, and the names of the values in label maps."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ..dataset_json import channel_names
from ..evaluation.dataset_labels import defines_regions
from ..evaluation.pairing import ENDINGS
from ..files import read_json
from ..nnunet.data.raw_cases import raw_cases


def prediction_files(folder: Path, cases: Iterable[str]) -> dict[str, Path]:
    """The label map of each case in a folder of predictions."""
    return {case: next(file for ending in ENDINGS if (file := folder / f"{case}{ending}").is_file()) for case in cases}


def label_names(dataset_json: Mapping[str, Any]) -> dict[int, str]:
    """The name of each value in label maps; a region is named at the value that nnU-Net writes for it."""
    labels = {name: value for name, value in dataset_json["labels"].items() if name not in {"background", "ignore"}}
    if defines_regions(dataset_json):
        return dict(zip(dataset_json["regions_class_order"], labels, strict=True))
    return {int(value[0] if isinstance(value, list) else value): name for name, value in labels.items()}


def images_next_to(references: Path) -> Path | None:
    """The folder `imagesTs` next to `labelsTs`, if there is one."""
    candidate = references.with_name(references.name.replace("labels", "images"))
    return candidate if candidate != references and candidate.is_dir() else None


def training_images(raw: Path, cases: Sequence[str]) -> dict[str, dict[str, Path]]:
    """The file of each channel for training cases of a raw data set, which may keep them anywhere."""
    if not (raw / "dataset.json").is_file():
        return {}
    names, wanted = channel_names(read_json(raw / "dataset.json")), set(cases)
    return {
        case.name: dict(zip(names, case.images, strict=True))
        for case in raw_cases(raw)
        if case.name in wanted and all(path.is_file() for path in case.images)
    }


def images_in(folder: Path, cases: Sequence[str], dataset_json: Mapping[str, Any]) -> dict[str, dict[str, Path]]:
    """The file of each channel in a folder, for the cases that have all channels there."""
    names, ending = channel_names(dict(dataset_json)), dataset_json["file_ending"]
    images = {}
    for case in cases:
        files = {name: folder / f"{case}_{channel:04d}{ending}" for channel, name in enumerate(names)}
        if all(file.is_file() for file in files.values()):
            images[case] = files
    return images
