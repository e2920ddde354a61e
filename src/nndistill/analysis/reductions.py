"""What remains of an image and of its spatial derivative while it is halved again and again (the paper, Figure 1)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.functional import avg_pool2d, avg_pool3d

from ..errors import UnknownName

Downsampling = Literal["decimation", "averaging"]
"""Every second voxel along each axis, as in Figure 1 (stride 2), or the mean of 2×2×2 voxels (of an image, 2×2)."""
Derivative = Literal["x", "magnitude"]
"""D_x along the last axis, as in Figure 1, or the magnitude of the gradient."""


class Scale(NamedTuple):
    """An image at one scale."""

    image: NDArray[np.float64]
    """`(D, H, W)`, or `(H, W)`."""
    derivative: NDArray[np.float64]
    """Per mm, of the same shape."""
    variance_left: float
    """Variance of the intensities, relative to the original."""
    derivative_left: float
    """Mean squared derivative, relative to the original."""


def reduced_scales(
    image: NDArray[Any],
    spacing: Sequence[float],
    *,
    reductions: int = 5,
    downsampling: Downsampling = "decimation",
    derivative: Derivative = "x",
) -> list[Scale]:
    r"""Halve a volume, or an image, several times, and take its derivative at each scale.

    $$I_{k+1}(n) = I_k(2n), \qquad D_x I_k(n) = \frac{I_k(n + e_x) - I_k(n - e_x)}{2 \cdot 2^k h_x}$$

    Decimation keeps every second voxel and nothing of the others. What varies faster than the new grid can show is not
    lost but comes back as a coarser pattern that was never there (aliasing); averaging removes most of it first.
    Derivatives are central differences of neighbouring voxels (one-sided at the ends), whose distance doubles with each
    reduction.

    Args:
        image: Intensities, `(D, H, W)` or `(H, W)`, at least two voxels along each axis.
        spacing: Voxel size $h$ in mm.
        reductions: Number of reductions; fewer if an axis would be left with one voxel.
        downsampling: How a volume is halved.
        derivative: Along x (W), with its sign, or the gradient's magnitude $\lVert\nabla I\rVert$.

    Returns:
        The original and its reductions, fine to coarse.

    Raises:
        UnknownName: There is no such downsampling or derivative.

    Source:
        Fan et al., Detail Consistent Stage-Wise Distillation for Efficient 3D MRI Segmentation, MICCAI 2026, Figure 1.

    Example:
        >>> import numpy as np
        >>> stripes = np.broadcast_to((-1.0) ** np.arange(8), (8, 8, 8))
        >>> original, half = reduced_scales(stripes, (1, 1, 1), reductions=1)
        >>> np.unique(original.image), np.unique(half.image)
        (array([-1.,  1.]), array([1.]))
    """
    for kind, name, known in (("downsampling", downsampling, Downsampling), ("derivative", derivative, Derivative)):
        if name not in get_args(known):
            raise UnknownName(kind, name, get_args(known), option=kind)
    volume = np.array(image, dtype=np.float64)
    scales: list[Scale] = []
    for step in range(reductions + 1):
        if min(volume.shape) < 2:
            break
        steepness = _derivative(volume, [2**step * mm for mm in spacing], derivative)
        whole = scales[0] if scales else None
        scales.append(
            Scale(
                volume,
                steepness,
                _share(volume.var(), whole.image.var() if whole else volume.var()),
                _share(np.square(steepness).mean(), np.square(whole.derivative if whole else steepness).mean()),
            )
        )
        volume = _halved(volume, downsampling)
    return scales


def _derivative(volume: NDArray[np.float64], spacing: Sequence[float], kind: Derivative) -> NDArray[np.float64]:
    if kind == "x":
        return np.asarray(np.gradient(volume, spacing[-1], axis=-1))
    return np.asarray(np.sqrt(np.sum(np.square(np.gradient(volume, *spacing)), axis=0)))


def _halved(volume: NDArray[np.float64], downsampling: Downsampling) -> NDArray[np.float64]:
    """Half the size along each axis; an odd axis keeps its last voxel."""
    if downsampling == "decimation":
        return volume[(slice(None, None, 2),) * volume.ndim]
    # ceil_mode: the last voxel of an odd axis is alone in its block
    averaged = avg_pool3d if volume.ndim == 3 else avg_pool2d
    return averaged(torch.from_numpy(volume)[None], 2, ceil_mode=True, count_include_pad=False)[0].numpy()


def _share(part: float, whole: float) -> float:
    return float(part / whole) if whole > 0 else float("nan")
