"""Any task of the Medical Segmentation Decathlon: `dataset.json`, `imagesTr`, `labelsTr` and `imagesTs`.

A 3D image is one channel; a 4D image holds all channels.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..errors import UserError
from ..files import read_json
from .folders import image_file
from .registry import ALLOW_EMPTY, register
from .source import Case, Source


@register(
    "decathlon",
    title="Decathlon",
    summary="Any task of the Medical Segmentation Decathlon, 3D or 4D.",
    source="The folder of a task, which holds its dataset.json.",
    options={"empty_labels": ALLOW_EMPTY},
)
def find_decathlon(root: Path, *, empty_labels: bool = False) -> Source:
    """Read what a task's `dataset.json` lists.

    Args:
        root: The folder of the task, which holds `dataset.json`.
        empty_labels: Accept label maps that hold only background.

    Raises:
        UserError: `dataset.json` is missing, or makes no sense.

    Example:
        >>> import json
        >>> from pathlib import Path
        >>> from tempfile import mkdtemp
        >>> from nndistill.datasets import find_decathlon
        >>> description = {
        ...     "modality": {"0": "CT"},
        ...     "labels": {"0": "background", "1": "liver"},
        ...     "training": [{"image": "imagesTr/a.nii.gz", "label": "labelsTr/a.nii.gz"}],
        ... }
        >>> task = Path(mkdtemp())
        >>> _ = (task / "dataset.json").write_text(json.dumps(description))
        >>> find_decathlon(task).labels
        {'background': 0, 'liver': 1}
    """
    path = Path(root) / "dataset.json"
    content = read_json(path)
    channels, names = content.get("modality"), content.get("labels")
    if not isinstance(channels, dict) or not isinstance(names, dict) or not all(map(str.isdecimal, channels)):
        raise UserError(f'{path} does not name "modality" and "labels": is this a task of the Decathlon?')
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
        found_by="decathlon",
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
    """Where a listed file is: its path is relative to the task's folder, or was written on another machine."""
    path = image_file(source / listed)
    moved = image_file(source / Path(listed).parent.name / Path(listed).name)
    return moved if not path.exists() and moved.exists() else path


def _real(listed: str) -> bool:
    return not Path(listed).name.startswith("._")  # what macOS leaves in archives


def _labels(path: Path, names: Mapping[str, Any]) -> dict[str, int]:
    """nnU-Net's `{name: value}`, background first, from the Decathlon's `{value: name}`."""
    try:
        by_value = {int(value): str(name) for value, name in names.items()}
    except ValueError:
        raise UserError(f'{path} has "labels" with keys that are not whole numbers: {", ".join(names)}.') from None
    by_value[0] = "background"
    if sorted(by_value) != list(range(len(by_value))):
        raise UserError(f"{path} skips a label: nnU-Net needs 0, 1, 2, … and it has {sorted(by_value)}.")
    labels = {by_value[value]: value for value in sorted(by_value)}
    if len(labels) < len(by_value):
        raise UserError(f"{path} gives two labels the same name.")
    return labels
