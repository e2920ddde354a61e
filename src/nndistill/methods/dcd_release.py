"""DCD as its authors' public code computes it, which differs from the paper's equations."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from torch import Tensor

from ..wavelets.operators import check_level, check_wavelet
from ..wavelets.subbands import parse_bands
from ..wavelets.transform import working_precision
from .base import Activations, StagewiseMethod
from .parts.release_pyramid import ReleasePyramid, pyramid_energy
from .registry import register


@register
class DCDRelease(StagewiseMethod):
    r"""Mean squared distance between what the release synthesises from chosen bands, one level at a time.

    $$\mathcal L = \frac1M\sum_{i=1}^M \frac1l\sum_{k=1}^l \frac1{N_{i,k}}\Big\lVert
    \mathcal R_k\big(F_i^{(t)}\big) - \mathcal R_k\big(\phi_i(F_i^{(s)})\big)\Big\rVert_2^2$$

    $\mathcal R_k$ analyses level $k$ of the pyramid, zeroes every band outside the selection and synthesises that level
    alone. Unlike in the paper (`DCD`), the synthesis does not invert the analysis, volumes are padded with zeros, and
    levels and stages are averaged. For comparison with results of that code; to distil, use `DCD`.

    Args:
        student_channels: Channels of each student stage, fine to coarse.
        teacher_channels: Channels of each teacher stage, fine to coarse.
        wavelet: Any discrete wavelet that PyWavelets knows.
        level: Number of levels of the pyramid.
        bands: What to match: groups `"A"`, `"D"`, `"S"` joined with `+`, or a list such as `["LLH", "HLL"]`, at
            every level, `LLL` included.

    Shape:
        Stage `i` takes `(B, C_i, D_i, H_i, W_i)` from both networks, with equal sizes in space; returns a scalar.

    Raises:
        StageMismatch: The networks have different numbers of stages, or a stage's two features differ in space.
        UnknownName: No such wavelet or band.
        UserError: A stage with an axis of one voxel.

    Source:
        The public code of Fan et al., Detail Consistent Stage-Wise Distillation for Efficient 3D MRI Segmentation,
        MICCAI 2026.

    Example:
        >>> import torch
        >>> student, teacher = Activations([torch.rand(1, 8, 8, 8, 8)]), Activations([torch.rand(1, 32, 8, 8, 8)])
        >>> DCDRelease([8], [32])(student, teacher).ndim
        0
    """

    name = "dcd-release"
    title = "DCD (release)"
    matches = "chosen wavelet subbands, as the authors' public code computes them"
    source_weight = 0.01  # of its recipe for BraTS

    def __init__(
        self,
        student_channels: Sequence[int],
        teacher_channels: Sequence[int],
        *,
        wavelet: str = "db4",
        level: int = 3,
        bands: str | Iterable[str] = "D",
    ) -> None:
        super().__init__(student_channels, teacher_channels)
        self.pyramid = ReleasePyramid(parse_bands(bands), check_wavelet(wavelet), check_level(level, lowest=1))

    def forward(self, student: Activations, teacher: Activations, target: Tensor | None = None) -> Tensor:
        return super().forward(student, teacher, target) / len(self.phi)

    def stage_loss(self, student: Tensor, teacher: Tensor) -> Tensor:
        energy: Tensor = pyramid_energy(working_precision(teacher) - student, self.pyramid)
        return energy
