"""What remains of an image and of its spatial derivative while it is halved again and again (the paper, Figure 1)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.functional import avg_pool3d


class Scale(NamedTuple):
    """An image at one scale."""

    image: NDArray[np.float64]
    """`(D, H, W)`."""
    derivative: NDArray[np.float64]
    """Magnitude of the gradient per mm, `(D, H, W)`."""
    variance_left: float
    """Variance of the intensities, relative to the original."""
    derivative_left: float
    """Mean squared derivative, relative to the original."""


def reduced_scales(image: NDArray[Any], spacing: Sequence[float], *, reductions: int = 5) -> list[Scale]:
    r"""Halve a volume several times by averaging 2×2×2 voxels, and take its derivative at each scale.

    The derivative is $\lVert\nabla I\rVert$ by central differences of neighbouring voxels, whose distance doubles with
    each reduction.

    Args:
        image: Intensities, `(D, H, W)`, at least two voxels along each axis.
        spacing: Voxel size in mm.
        reductions: Number of reductions; fewer if an axis would be left with one voxel.

    Returns:
        The original and its reductions, fine to coarse.
    """
    volume = np.array(image, dtype=np.float64)
    scales: list[Scale] = []
    for step in range(reductions + 1):
        if min(volume.shape) < 2:
            break
        gradient = np.gradient(volume, *(2**step * mm for mm in spacing))
        derivative = np.sqrt(np.sum(np.square(gradient), axis=0))
        whole = scales[0] if scales else None
        scales.append(
            Scale(
                volume,
                derivative,
                _share(volume.var(), whole.image.var() if whole else volume.var()),
                _share(np.square(derivative).mean(), np.square(whole.derivative if whole else derivative).mean()),
            )
        )
        # ceil_mode: an odd axis keeps its last voxel, alone in its block
        volume = avg_pool3d(torch.from_numpy(volume)[None], 2, ceil_mode=True, count_include_pad=False)[0].numpy()
    return scales


def _share(part: float, whole: float) -> float:
    return float(part / whole) if whole > 0 else float("nan")
