"""Where the files of a case go: sound ones stay where they are, others are made in nnU-Net's folders."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from ...errors import UserError
from ...files import atomic_path
from ...nnunet.data.raw import image_name, label_name
from ...volumes.grid import is_same_grid
from ...volumes.nifti import read_volume, write_nifti_like
from ..source import Case, Source
from .alignment import resample
from .case_check import Finding

Way = Literal["copy", "link", "rewrite"]


@dataclass(frozen=True)
class Making:
    """A file that has to be made.

    Args:
        target: The file.
        origin: What it is made from.
        way: A copy; a link; or read, changed and written.
        channel: Taken out of an image of four dimensions.
        onto: Image onto whose grid it is resampled.
        is_label: Resample by the nearest voxel, and write bytes.
    """

    target: Path
    origin: Path
    way: Way
    channel: int | None = None
    onto: Path | None = None
    is_label: bool = False

    def carry_out(self) -> None:
        """Make it.

        Raises:
            UserError: It cannot be written; the disk is full.
        """
        if self.way == "rewrite":
            self._rewrite()
            return
        try:
            with atomic_path(self.target) as temporary:
                if self.way == "copy":
                    shutil.copyfile(self.origin, temporary)
                else:
                    temporary.symlink_to(self.origin.absolute())
        except OSError as error:
            raise UserError(f"cannot write {self.target}: {error.strerror}.") from error

    def _rewrite(self) -> None:
        volume = read_volume(self.origin)
        array, header = volume.array, volume.header
        if array.ndim == 4:
            array = array[..., self.channel or 0]
        if self.onto is not None:
            reference = read_volume(self.onto)
            header = reference.header
            if not is_same_grid(volume.grid, reference.grid):
                array = resample(array, volume.affine, reference.grid, nearest=self.is_label)
        write_nifti_like(self.target, array.astype(np.uint8) if self.is_label else array, header)


@dataclass(frozen=True)
class Placing:
    """A case in nnU-Net's raw format.

    Args:
        name: The case's name.
        images: Where its channels are, one file each.
        label: Where its label map is; None for a test case.
        makings: Files among them that have to be made.
    """

    name: str
    images: list[Path]
    label: Path | None
    makings: list[Making]


def place(case: Case, finding: Finding, folder: Path, source: Source, *, copy: bool) -> Placing:
    """Decide where each file of a sound case goes.

    Below `folder` go test cases, which `dataset.json` cannot name, and what nnU-Net cannot take as it is.

    Args:
        case: The case.
        finding: Its check.
        folder: The data set's folder.
        source: The data set.
        copy: Put everything below `folder`.
    """
    part = "Tr" if case.label else "Ts"
    onto = None if source.onto is None else case.images[source.onto]
    *_, is_label_as_is = finding.as_is
    makings = []

    def put(origin: Path, target: Path, as_is: bool, channel: int | None = None) -> Path:
        if as_is and not copy and case.label:
            return origin.absolute()
        way: Way = "rewrite" if not as_is else "copy" if copy else "link"
        makings.append(Making(target, origin, way, channel, onto if way == "rewrite" else None, origin == case.label))
        return target

    targets = [folder / f"images{part}" / image_name(case.name, channel) for channel in range(len(source.channels))]
    if len(case.images) < len(targets):
        images = [put(case.images[0], target, False, channel) for channel, target in enumerate(targets)]
    else:
        images = [put(*each) for each in zip(case.images, targets, finding.as_is, strict=False)]
    label = case.label and put(case.label, folder / f"labels{part}" / label_name(case.name), is_label_as_is)
    return Placing(case.name, images, label, makings)
