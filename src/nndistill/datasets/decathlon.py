"""Any task of the Medical Segmentation Decathlon, checked and brought into nnU-Net's raw format.

Three-dimensional images become hard links where the file system allows it; four-dimensional ones are split into one
file a channel.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np

from ..errors import UserError
from ..files import read_json
from .claim import claim, is_claimed, is_complete
from .raw import (
    check_same_grid,
    dataset_folder,
    image_name,
    label_name,
    read_nifti,
    write_dataset_json,
    write_nifti,
)


def prepare_decathlon(
    source: Path,
    raw: Path,
    *,
    dataset_id: int,
    jobs: int = 2,
    progress: Callable[[int, int], None] | None = None,
) -> Path:
    """Bring a Decathlon task into nnU-Net's raw format; nothing is written unless every file is sound.

    Called again, it does nothing; after a kill, what is missing.

    Args:
        source: The task's folder, with `dataset.json`.
        raw: nnU-Net's raw folder.
        dataset_id: Number of the new data set, from 1 to 999.
        jobs: Files to read at a time.
        progress: Called with the number of finished steps and of all; each case is checked, then written.

    Returns:
        The folder `DatasetXXX_Name` below `raw`, its name taken from `dataset.json`.

    Raises:
        UserError: Something in the source is missing, unreadable or does not fit together: which file, and what.
    """
    task = _Task.read(Path(source))
    folder = dataset_folder(Path(raw), dataset_id, task.name)
    files = [path for case in task.cases for path in case.image_targets(folder, len(task.channels))]
    files += [path for case in task.cases for path in case.label_targets(folder)]
    provenance = {"maker": "decathlon", "task": task.name, "files": task.fingerprint()}
    report = progress or (lambda done, total: None)
    steps = 2 * len(task.cases)
    if is_complete(folder, files, provenance):
        report(steps, steps)
        return folder

    with ThreadPoolExecutor(jobs) as pool:
        try:
            done = 0
            if not is_claimed(folder, provenance):  # claimed only after a check
                for done, _ in enumerate(pool.map(task.check, task.cases), start=1):
                    report(done, steps)
            claim(folder, files, provenance)
            for done, _ in enumerate(pool.map(lambda case: task.write(case, folder), task.cases), start=steps // 2 + 1):
                report(done, steps)
        finally:
            pool.shutdown(cancel_futures=True)
    write_dataset_json(
        folder,
        channels=task.channels,
        labels=task.labels,
        training=sum(case.label is not None for case in task.cases),
        **task.credits,
    )
    return folder


@dataclass(frozen=True)
class _Case:
    """Files of a case; a test case has no label."""

    image: Path
    label: Path | None

    @property
    def name(self) -> str:
        return re.sub(r"\.nii(\.gz)?$", "", self.image.name)

    def image_targets(self, folder: Path, channels: int) -> list[Path]:
        part = folder / ("imagesTr" if self.label else "imagesTs")
        return [part / image_name(self.name, channel) for channel in range(channels)]

    def label_targets(self, folder: Path) -> list[Path]:
        return [folder / "labelsTr" / label_name(self.name)] if self.label else []


@dataclass(frozen=True)
class _Task:
    """What a task's `dataset.json` says."""

    name: str
    channels: list[str]
    labels: dict[str, int]
    cases: list[_Case]
    credits: dict[str, Any]

    @classmethod
    def read(cls, source: Path) -> _Task:
        path = source / "dataset.json"
        content = read_json(path)
        channels, names = content.get("modality"), content.get("labels")
        if not isinstance(channels, dict) or not isinstance(names, dict) or not all(map(str.isdecimal, channels)):
            raise UserError(f'{path} names no "modality" and "labels": is this a folder of the Decathlon?')
        try:
            training = [(str(pair["image"]), str(pair["label"])) for pair in content["training"]]
            testing = [str(image) for image in content.get("test", [])]
        except (KeyError, TypeError):
            raise UserError(f'{path} has no list "training" of pairs "image" and "label".') from None
        cases = [_Case(_locate(source, image), _locate(source, label)) for image, label in training if _real(image)]
        if not cases:
            raise UserError(f"{path} lists no training case.")
        cases += [_Case(_locate(source, image), None) for image in testing if _real(image)]
        seen = [case.name for case in cases]
        if twice := sorted({name for name in seen if seen.count(name) > 1}):
            raise UserError(f"{path} lists the case {twice[0]} twice.")
        return cls(
            name=re.sub(r"[^A-Za-z0-9_-]+", "", str(content.get("name", ""))) or source.resolve().name,
            channels=[str(name) for _, name in sorted(channels.items(), key=lambda item: int(item[0]))],
            labels=_labels(path, names),
            cases=cases,
            credits={key: content[key] for key in ("description", "reference", "licence", "release") if key in content},
        )

    def fingerprint(self) -> list[list[object]]:
        """Name, size and time of change of every file.

        Raises:
            UserError: A file is missing.
        """
        found: list[list[object]] = []
        for path in (path for case in self.cases for path in (case.image, case.label) if path):
            try:
                status = path.stat()
            except OSError:
                raise UserError(f"{path} is missing.") from None
            found.append([f"{path.parent.name}/{path.name}", status.st_size, status.st_mtime_ns])
        return found

    def check(self, case: _Case) -> None:
        """Refuse a case that nnU-Net could not train on, or would train wrongly."""
        image, affine = read_nifti(case.image)
        channels = image.shape[3] if image.ndim == 4 else 1
        if image.ndim not in (3, 4) or channels != len(self.channels):
            raise UserError(
                f"{case.image} has shape {'×'.join(map(str, image.shape))}: not three dimensions "
                f"with {len(self.channels)} channel(s) ({', '.join(self.channels)})."
            )
        if not np.isfinite(image).all():
            raise UserError(f"{case.image} holds values that are not finite (NaN or infinity).")
        if case.label is None:
            return
        label, label_affine = read_nifti(case.label)
        check_same_grid(
            case.label,
            label.shape,
            label_affine,
            of=case.image,
            expected=image.shape[:3],
            expected_affine=affine,
        )
        unknown = sorted(set(np.unique(label).tolist()) - set(self.labels.values()))
        if unknown:
            raise UserError(
                f"{case.label} holds the label {unknown[0]:g}; dataset.json knows "
                f"{', '.join(f'{value} {name}' for name, value in self.labels.items())}."
            )

    def write(self, case: _Case, folder: Path) -> None:
        """Put the case's files where nnU-Net looks for them; those that are there stay."""
        images = enumerate(case.image_targets(folder, len(self.channels)))
        missing = [(channel, path) for channel, path in images if not path.exists()]
        if missing and nib.load(case.image).ndim == 3:
            _place(case.image, missing[0][1])
        elif missing:
            array, affine = read_nifti(case.image)
            for channel, path in missing:
                write_nifti(path, array[..., channel], affine)
        for path in case.label_targets(folder):
            if case.label and not path.exists():
                _place(case.label, path)


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


def _place(source: Path, target: Path) -> None:
    """The same file at a second place, without a copy where possible."""
    if source.suffix != ".gz":
        write_nifti(target, *read_nifti(source))
        return
    partial = target.with_name(f"{target.name}.part")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        partial.unlink(missing_ok=True)
        try:
            os.link(source.resolve(), partial)
        except OSError:  # another file system, or one without links
            shutil.copyfile(source, partial)
        partial.replace(target)
    except OSError as error:
        raise UserError(f"cannot write {target}: {error.strerror}.") from error
