"""Any task of the Medical Segmentation Decathlon: `dataset.json`, `imagesTr`, `labelsTr` and `imagesTs`.

An image of three dimensions is one channel, one of four dimensions holds all of them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..errors import UserError
from ..files import read_json
from .source import Case, Source


def find_decathlon(root: Path, *, empty_labels: bool = False) -> Source:
    """Read what a task's `dataset.json` lists.

    Args:
        root: The task's folder, with `dataset.json`.
        empty_labels: Let pass label maps with nothing but background.

    Raises:
        UserError: `dataset.json` is missing, or makes no sense.
    """
    path = Path(root) / "dataset.json"
    content = read_json(path)
    channels, names = content.get("modality"), content.get("labels")
    if not isinstance(channels, dict) or not isinstance(names, dict) or not all(map(str.isdecimal, channels)):
        raise UserError(f'{path} names no "modality" and "labels": is this a folder of the Decathlon?')
    try:
        listed = [(str(pair["image"]), str(pair["label"])) for pair in content["training"]]
        testing = [str(image) for image in content.get("test", [])]
    except (KeyError, TypeError):
        raise UserError(f'{path} has no list "training" of pairs "image" and "label".') from None
    cases = [_case(_locate(root, image), _locate(root, label)) for image, label in listed if _real(image)]
    if not cases:
        raise UserError(f"{path} lists no training case.")
    cases += [_case(_locate(root, image), None) for image in testing if _real(image)]
    seen = [case.name for case in cases]
    if twice := sorted({name for name in seen if seen.count(name) > 1}):
        raise UserError(f"{path} lists the case {twice[0]} twice.")
    return Source(
        maker="decathlon",
        name=re.sub(r"[^A-Za-z0-9_-]+", "", str(content.get("name", ""))) or Path(root).resolve().name,
        channels=tuple(str(name) for _, name in sorted(channels.items(), key=lambda item: int(item[0]))),
        labels=_labels(path, names),
        cases=tuple(cases),
        empty_labels=empty_labels,
        extra={key: content[key] for key in ("description", "reference", "licence", "release") if key in content},
    )


def _case(image: Path, label: Path | None) -> Case:
    name = re.sub(r"\.nii(\.gz)?$", "", image.name)
    return Case(name, name, (image,), label)


def _locate(source: Path, listed: str) -> Path:
    """Where a listed file is: paths are relative to the task's folder, or left over from another machine."""
    path = source / listed
    moved = source / Path(listed).parent.name / Path(listed).name
    return moved if not path.exists() and moved.exists() else path


def _real(listed: str) -> bool:
    return not Path(listed).name.startswith("._")  # what macOS leaves in archives


def _labels(path: Path, names: Mapping[str, Any]) -> dict[str, int]:
    """nnU-Net's `{name: value}`, background first, from the Decathlon's `{value: name}`."""
    try:
        by_value = {int(value): str(name) for value, name in names.items()}
    except ValueError:
        raise UserError(f'{path} has "labels" whose keys are not whole numbers: {", ".join(names)}.') from None
    by_value[0] = "background"
    if sorted(by_value) != list(range(len(by_value))):
        raise UserError(f"{path} skips a label: nnU-Net needs 0, 1, 2, … and it has {sorted(by_value)}.")
    labels = {by_value[value]: value for value in sorted(by_value)}
    if len(labels) < len(by_value):
        raise UserError(f"{path} gives two labels the same name.")
    return labels
