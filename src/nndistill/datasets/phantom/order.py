"""One case of a phantom data set that is to be made, and where its files go."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ...nnunet.data.raw import image_name, label_name
from ...volumes.grid import Affine
from ...volumes.nifti import write_nifti
from .acquisition import CHANNELS
from .case import phantom_case, voxel_centres

LACKING = ((), (), ("RC",), ("RC",), ("NETC",), ("ET",))
"""What the tumours of six cases in a row lack, in random order: every label is in four of them or more."""


@dataclass(frozen=True)
class Order:
    """A case in nnU-Net's raw format.

    Args:
        folder: The data set's folder.
        dataset: Its name, with which the case's begins.
        number: The case's number.
        held_out: A test case.
        seed: Decides, with the number, everything that is random.
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
        """All that is to be written."""
        return [*self.images, self.label]

    @property
    def label(self) -> Path:
        """The label map's file."""
        return self.folder / ("labelsTs" if self.held_out else "labelsTr") / label_name(self.case)

    @property
    def images(self) -> list[Path]:
        """The channels' files."""
        folder = self.folder / ("imagesTs" if self.held_out else "imagesTr")
        return [folder / image_name(self.case, channel) for channel in range(len(CHANNELS))]

    @property
    def lacks(self) -> tuple[str, ...]:
        """Labels that this tumour is without."""
        block, place = divmod(self.number, len(LACKING))
        order = np.random.default_rng(self.sequence(1, block)).permutation(len(LACKING))
        return LACKING[order[place]]

    def make(self) -> None:
        """Write the images and the labels."""
        sequence = self.sequence(0, self.number)
        images, labels = phantom_case(sequence, shape=self.shape, spacing=self.spacing, lacks=self.lacks)
        for path, image in zip(self.images, images, strict=True):
            write_nifti(path, image.astype(np.int16), self.affine)
        write_nifti(self.label, labels, self.affine)

    @property
    def affine(self) -> Affine:
        """The head's centre is at zero."""
        affine = np.diag([*self.spacing, 1.0])
        affine[:3, 3] = [axis[0] for axis in voxel_centres(self.shape, self.spacing)]
        return affine

    def sequence(self, purpose: int, number: int) -> np.random.SeedSequence:
        """Randomness of a case, purpose 0, or of six of them together, purpose 1."""
        return np.random.SeedSequence(self.seed, spawn_key=(purpose, self.held_out, number))
