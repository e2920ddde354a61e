"""Small downloads of challenges, file by file as they are shipped."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

BRATS = ("t1n", "t1c", "t2w", "t2f", "seg")


@pytest.fixture
def brats(tmp_path, save):
    """Training data of BraTS 2024 with six cases of five patients, and the path of each file: `brats(1, "seg")`."""
    rng = np.random.default_rng(0)
    root = tmp_path / "download" / "training_data1_v2"
    names = ["BraTS-GLI-00000-100", "BraTS-GLI-00000-101", *(f"BraTS-GLI-{k:05d}-100" for k in range(1, 5))]

    def path(case: int = 0, part: str = "") -> Path:
        folder = root / names[case]
        return folder / f"{folder.name}-{part}.nii.gz" if part else folder

    for case in range(len(names)):
        for part in BRATS:
            array = rng.integers(0, 5, (6, 7, 5)).astype(np.uint8)
            save(path(case, part), array if part == "seg" else array.astype(np.int16) * 100 + case)
    path.root, path.names = root, names
    return path


@pytest.fixture
def isles(tmp_path, affine):
    """Training data of ISLES 2022 with five cases in the public layout: `isles(1, "FLAIR")`."""
    rng = np.random.default_rng(0)
    root = tmp_path / "ISLES-2022"
    across = affine.copy()
    across[:3, :3] *= (0.5, 0.5, 2)

    def path(case: int, part: str) -> Path:
        name = f"sub-strokecase{case + 1:04d}"
        session = root / ("derivatives" if part == "msk" else "") / name / "ses-0001"
        return session / {"FLAIR": "anat", "msk": ""}.get(part, "dwi") / f"{name}_ses-0001_{part}.nii.gz"

    for case in range(5):
        for part in ("FLAIR", "dwi", "adc", "msk"):
            shape = (16, 18, 4) if part == "FLAIR" else (8, 9, 8)
            array = rng.integers(0, 200, shape).astype(np.int16)
            if part == "msk":
                array = np.zeros(shape, np.uint8)
                array[2:5, 3:6, 2:6] = 1
            target = path(case, part)
            target.parent.mkdir(parents=True, exist_ok=True)
            place = across if part == "FLAIR" else affine
            image = nib.Nifti1Image(array, place)
            image.set_qform(place, 1)
            image.set_sform(place, 1)
            nib.save(image, target)
    path.root = root
    return path
