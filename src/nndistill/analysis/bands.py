"""One channel of a stage in its bands, for teacher and student, and what the projection leaves of it (Figure 2b)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from ..wavelets import SubbandProjection
from .spectrum import measurable_levels

Volume = NDArray[np.float32]


class BandParts(NamedTuple):
    """A feature and its parts, each `(D, H, W)`; an image is a volume of one slice."""

    feature: Volume
    low: Volume
    """LLL of level 1, transformed back alone."""
    directional: Volume
    """The six bands D of level 1, transformed back alone."""
    diagonal: Volume
    """HHH of level 1, transformed back alone. The three add up to the feature."""
    projected: Volume
    r"""$\mathcal P_{\mathcal D}$ of the feature: D of all levels, what DCD compares."""


@dataclass(frozen=True)
class StageBands:
    """One channel of a stage of the teacher, and of the student through φ.

    Args:
        channel: The teacher's channel with the most energy in what the projection leaves, counted from 0.
        slice_index: Slice along the first axis in which this channel has the most of it.
        levels: Number of levels of the projection.
        teacher: The teacher's feature.
        student: φ of the student's feature, the same channel.
        ndim: Number of dimensions of the networks.
    """

    channel: int
    slice_index: int
    levels: int
    teacher: BandParts
    student: BandParts | None
    ndim: int = 3


def stage_bands(
    teacher: Tensor,
    student: Tensor | None = None,
    *,
    wavelet: str = "db4",
    level: int = 3,
    mode: str = "symmetric",
) -> StageBands | None:
    r"""Split one channel of a stage into LLL, D and HHH of its finest level, and project it onto D of all levels.

    $$F = \mathcal P_{LLL}(F) + \mathcal P_{\mathcal D}(F) + \mathcal P_{HHH}(F) \quad\text{at level 1}$$

    Args:
        teacher: Features of one sample.
        student: φ of the student's features.
        wavelet: Any discrete wavelet of PyWavelets.
        level: Number of levels of the projection; fewer if the stage is small (see `measurable_levels`).
        mode: Boundary mode.

    Shape:
        `(1, C, D, H, W)`, both, or both without D: then LLL is LL, and HHH is HH.

    Returns:
        The bands; `None` if the stage cannot be split.

    Example:
        >>> import torch
        >>> bands = stage_bands(torch.randn(1, 4, 16, 16, 16))
        >>> low, directional, diagonal = bands.teacher[1:4]
        >>> bool(np.allclose(low + directional + diagonal, bands.teacher.feature, atol=1e-5))
        True

    Source:
        Fan et al., Detail Consistent Stage-Wise Distillation for Efficient 3D MRI Segmentation, MICCAI 2026, Figure 2b
        and Eq. 6.
    """
    levels = measurable_levels(teacher.shape[2:], level, mode)
    if levels == 0:
        return None
    ndim = teacher.dim() - 2
    pyramid = SubbandProjection("D", wavelet=wavelet, level=levels, mode=mode, ndim=ndim)
    energy = pyramid(teacher)[0].double().square().sum(dim=(-2, -1)).view(teacher.shape[1], -1)
    channel = int(energy.sum(dim=1).argmax())

    def parts(features: Tensor) -> BandParts:
        feature = features[:, channel : channel + 1]
        first = [SubbandProjection(group, wavelet=wavelet, level=1, mode=mode, ndim=ndim) for group in ("A", "D", "S")]
        found = (feature, *(project(feature) for project in first), pyramid(feature))
        return BandParts(*(x.float().cpu().numpy().reshape(-1, *x.shape[-2:]) for x in found))

    return StageBands(
        channel=channel,
        slice_index=int(energy[channel].argmax()),
        levels=levels,
        teacher=parts(teacher),
        student=None if student is None else parts(student),
        ndim=ndim,
    )
