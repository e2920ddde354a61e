"""NIfTI files with an affine of unequal voxels."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest


@pytest.fixture(scope="session")
def affine():
    return np.array([[-1.0, 0, 0, 30], [0, 2.0, 0, -12], [0, 0, 1.5, 7], [0, 0, 0, 1]])


@pytest.fixture(scope="session")
def save(affine):
    def save(path: Path, array: np.ndarray, affine: np.ndarray = affine) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        nib.save(nib.Nifti1Image(array, affine), path)
        return path

    return save
