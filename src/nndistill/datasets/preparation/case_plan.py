"""Decide where the files of a case go: usable ones stay where they are, others are made in nnU-Net's folders."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ...errors import UserError
from ...files import atomic_path
from ...nnunet.data.raw_format import image_name, label_name
from ...volumes.grid import is_same_grid
from ...volumes.label_values import whole_numbers
from ...volumes.nifti import read_volume, write_labels_like, write_nifti_like
from ..source import Case, Source
from .alignment import resample_onto
from .case_check import Finding

ActionKind = Literal["copy", "link", "rewrite"]


@dataclass(frozen=True)
class FileAction:
    """A file that has to be made, and how.

    Args:
        target: The file.
        origin: The file it is made from.
        kind: Copy it; link it; or read, change and write it.
        channel: Channel to take out of a 4D image.
        onto: Image onto whose grid it is resampled.
        is_label: Resample to the nearest voxel, and write whole numbers.
    """

    target: Path
    origin: Path
    kind: ActionKind
    channel: int | None = None
    onto: Path | None = None
    is_label: bool = False

    def carry_out(self) -> None:
        """Make the file.

        Raises:
            UserError: It cannot be written; the disk is full.
        """
        if self.kind == "rewrite":
            self._rewrite()
            return
        try:
            with atomic_path(self.target) as temporary:
                if self.kind == "copy":
                    shutil.copyfile(self.origin, temporary)
                else:
                    temporary.symlink_to(self.origin.absolute())
        except OSError as error:
            raise UserError(f"cannot write {self.target}: {error.strerror}.") from error

    def _rewrite(self) -> None:
        volume = read_volume(self.origin)
        array, header = volume.array, volume.header
        if self.is_label:
            array = whole_numbers(array, self.origin)
        elif array.ndim == 4:
            array = array[..., self.channel or 0]
        if self.onto is not None:
            reference = read_volume(self.onto)
            header = reference.header
            if not is_same_grid(volume.grid, reference.grid):
                array = resample_onto(array, volume.affine, reference.grid, nearest=self.is_label)
        write = write_labels_like if self.is_label else write_nifti_like
        write(self.target, array, header)


@dataclass(frozen=True)
class CasePlan:
    """Where a case's files are in nnU-Net's raw format, and which of them have to be made.

    Args:
        name: The case's name.
        images: One file per channel.
        label: The label map; None for a test case.
        actions: How to make the files that do not exist yet.
    """

    name: str
    images: list[Path]
    label: Path | None
    actions: list[FileAction]


def plan_case(case: Case, finding: Finding, folder: Path, source: Source, *, copy: bool) -> CasePlan:
    """Decide where each file of a sound case goes.

    Into `folder` go test cases, which `dataset.json` cannot name, and files that nnU-Net cannot use as they are.

    Args:
        case: The case.
        finding: The result of its check.
        folder: The data set's folder.
        source: The data set.
        copy: Put everything into `folder`.
    """
    part = "Tr" if case.label else "Ts"
    onto = None if source.onto is None else case.images[source.onto]
    *_, label_as_is = finding.as_is
    actions = []

    def put(origin: Path, target: Path, as_is: bool, channel: int | None = None) -> Path:
        if as_is and not copy and case.label:
            return origin.absolute()
        kind: ActionKind = "rewrite" if not as_is else "copy" if copy else "link"
        resampled_onto = onto if kind == "rewrite" else None
        actions.append(FileAction(target, origin, kind, channel, resampled_onto, is_label=origin == case.label))
        return target

    targets = [folder / f"images{part}" / image_name(case.name, channel) for channel in range(len(source.channels))]
    if len(case.images) < len(targets):
        images = [put(case.images[0], target, False, channel) for channel, target in enumerate(targets)]
    else:
        images = [put(*each) for each in zip(case.images, targets, finding.as_is, strict=False)]
    label = case.label and put(case.label, folder / f"labels{part}" / label_name(case.name), label_as_is)
    return CasePlan(case.name, images, label, actions)
