"""A case of a phantom data set: its name, its files, and how they are made."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ...nnunet.data.raw_format import image_name, label_name
from ...volumes.grid import Affine
from ...volumes.nifti import write_nifti
from .acquisition import CHANNELS
from .case import phantom_case, voxel_centres

LACKING = ((), (), ("RC",), ("RC",), ("NETC",), ("ET",))
"""Labels missing from the tumours of six consecutive cases, in random order: four or more have each label."""


@dataclass(frozen=True)
class PhantomCase:
    """A phantom case in nnU-Net's raw format; other layouts derive from it.

    Args:
        folder: The data set's folder.
        dataset: The data set's name, with which the case's name begins.
        number: The case's number.
        held_out: Whether it is a test case.
        seed: Decides everything that is random, together with the number.
        shape: Voxels along each axis.
        spacing: Size of a voxel in mm.
    """

    folder: Path
    dataset: str
    number: int
    held_out: bool
    seed: int
    shape: tuple[int, int, int]
    spacing: tuple[float, float, float]

    @property
    def case(self) -> str:
        """The case's name."""
        return f"{self.dataset}_test_{self.number:04d}" if self.held_out else f"{self.dataset}_{self.number:04d}"

    @property
    def files(self) -> list[Path]:
        """All files of the case."""
        return [*self.images, self.label]

    @property
    def label(self) -> Path:
        """The file of the label map."""
        return self.folder / ("labelsTs" if self.held_out else "labelsTr") / label_name(self.case)

    @property
    def images(self) -> list[Path]:
        """The files of the channels."""
        folder = self.folder / ("imagesTs" if self.held_out else "imagesTr")
        return [folder / image_name(self.case, channel) for channel in range(len(CHANNELS))]

    @property
    def lacks(self) -> tuple[str, ...]:
        """Labels that the tumour lacks."""
        block, place = divmod(self.number, len(LACKING))
        shuffled = np.random.default_rng(self.sequence(1, block)).permutation(len(LACKING))
        return LACKING[shuffled[place]]

    def make(self) -> None:
        """Write the images and the labels."""
        sequence = self.sequence(0, self.number)
        images, labels = phantom_case(sequence, shape=self.shape, spacing=self.spacing, lacks=self.lacks)
        for path, image in zip(self.images, images, strict=True):
            write_nifti(path, image.astype(np.int16), self.affine)
        write_nifti(self.label, labels, self.affine)

    @property
    def affine(self) -> Affine:
        """From voxels to mm; the head's centre is at zero."""
        affine = np.diag([*self.spacing, 1.0])
        affine[:3, 3] = [axis[0] for axis in voxel_centres(self.shape, self.spacing)]
        return affine

    def sequence(self, purpose: int, number: int) -> np.random.SeedSequence:
        """The random numbers of a case (purpose 0), or those that six cases share (purpose 1)."""
        return np.random.SeedSequence(self.seed, spawn_key=(purpose, self.held_out, number))
