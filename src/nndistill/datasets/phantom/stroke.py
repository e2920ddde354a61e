"""Turn a tumour into a stroke: diffusion images computed from T2, and a grid of thick slices for FLAIR."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ...volumes.grid import Affine, Grid
from .lattice import Field

TISSUE, FLUID, LESION = 0.75, 3.0, 0.42
"""Apparent diffusion coefficients in 10⁻³ mm²/s: of brain, of fluid, and of swollen cells."""


def diffusion(t2w: Field, lesion: np.ndarray[tuple[int, ...], np.dtype[np.bool_]]) -> tuple[Field, Field]:
    """Compute DWI at b = 1000 s/mm² and ADC in 10⁻³ mm²/s: the lesion is bright on DWI and dark on ADC.

    $$S = S_0 e^{-b\\,\\mathrm{ADC}}$$

    Args:
        t2w: A T2-weighted image, zero outside the brain.
        lesion: Voxels of the lesion.
    """
    brain = t2w > 0
    relative = t2w / np.median(t2w[brain])
    fluid = np.clip((relative - 1.4) / 0.6, 0, 1)
    adc = np.where(lesion, LESION * (0.8 + 0.2 * relative), TISSUE + (FLUID - TISSUE) * fluid) * brain
    dwi = 1000 * relative * np.exp(-adc) * brain
    return dwi.astype(np.float32), adc.astype(np.float32)


def thick_slices(path: Path, shape: tuple[int, int, int], affine: Affine) -> Grid:
    """Make the grid of FLAIR: finer than DWI's within a slice, coarser across slices, tilted and shifted.

    Args:
        path: The file that will have this grid.
        shape: Voxels of DWI.
        affine: Affine of DWI.
    """
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    finer = spacing * (0.75, 0.75, 2)
    voxels = np.ceil(np.multiply(shape, spacing) / finer).astype(int)
    tilt = np.deg2rad(8)
    turn = np.array([[1, 0, 0], [0, np.cos(tilt), -np.sin(tilt)], [0, np.sin(tilt), np.cos(tilt)]])
    own = np.eye(4)
    own[:3, :3] = turn * finer
    middle = affine[:3, :3] @ ((np.array(shape) - 1) / 2) + affine[:3, 3]
    own[:3, 3] = middle + 0.3 * spacing - own[:3, :3] @ ((voxels - 1) / 2)
    return Grid(path, tuple(voxels.tolist()), own)
