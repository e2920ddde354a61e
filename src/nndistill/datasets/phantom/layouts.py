"""The files of phantom cases in the layouts of challenges' downloads."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from ...nnunet.data.raw_format import FILE_ENDING
from ...volumes.nifti import write_nifti
from ..preparation.alignment import resample_onto
from .case import phantom_case
from .case_files import PhantomCase
from .stroke import diffusion, thick_slices

TIME_POINTS = (2, 1, 1)
"""Number of examinations of each of three consecutive patients."""


class Brats2024Case(PhantomCase):
    """A case of BraTS 2024 GLI; every fourth patient is in the additional training data."""

    @property
    def case(self) -> str:
        """`BraTS-GLI-<patient>-<time point>`."""
        block, place = divmod(self.number, sum(TIME_POINTS))
        patient, time = [(p, t) for p, count in enumerate(TIME_POINTS) for t in range(count)][place]
        return f"BraTS-GLI-{block * len(TIME_POINTS) + patient:05d}-{100 + time}"

    @property
    def images(self) -> list[Path]:
        """T1N, T1C, T2W and T2F."""
        return [self._file(part) for part in ("t1n", "t1c", "t2w", "t2f")]

    @property
    def label(self) -> Path:
        """The labels."""
        return self._file("seg")

    def _file(self, part: str) -> Path:
        patient = int(self.case.split("-")[2])
        archive = "training_data_additional" if patient % 4 == 3 else "training_data1_v2"
        return self.folder / archive / self.case / f"{self.case}-{part}{FILE_ENDING}"


class Isles2022Case(PhantomCase):
    """A case of ISLES 2022 in the layout of its public archive: a stroke, with FLAIR on a different grid."""

    @property
    def case(self) -> str:
        """`sub-strokecase<number>`."""
        return f"sub-strokecase{self.number + 1:04d}"

    @property
    def images(self) -> list[Path]:
        """FLAIR, DWI and ADC."""
        session = self.folder / self.case / "ses-0001"
        parts = ("anat", "FLAIR"), ("dwi", "dwi"), ("dwi", "adc")
        return [session / folder / f"{self.case}_ses-0001_{part}{FILE_ENDING}" for folder, part in parts]

    @property
    def label(self) -> Path:
        """The mask, on the grid of DWI and ADC."""
        return self.folder / "derivatives" / self.case / "ses-0001" / f"{self.case}_ses-0001_msk{FILE_ENDING}"

    def make(self) -> None:
        """Write the images and the mask."""
        images, labels = phantom_case(
            self.sequence(0, self.number), shape=self.shape, spacing=self.spacing, lacks=("SNFH", "RC")
        )
        flair, dwi, adc = self.images
        *_, t2w, t2f = images
        lesion = labels > 0
        grid = thick_slices(flair, self.shape, self.affine)
        write_nifti(flair, resample_onto(t2f, self.affine, grid), grid.affine)
        for path, image in zip((dwi, adc), diffusion(t2w, lesion), strict=True):
            write_nifti(path, image, self.affine)
        write_nifti(self.label, lesion, self.affine)


FOLDERS = {"brats2024": "BraTS2024-GLI", "isles2022": "ISLES-2022"}
"""The folder of each challenge's layout."""

LAYOUTS: Mapping[str, type[PhantomCase]] = {
    "nnunet": PhantomCase,
    "brats2024": Brats2024Case,
    "isles2022": Isles2022Case,
}
"""Cases in each layout, by the layout's name."""
