"""DCD as its authors' public code computes it, which differs from the paper's equations."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from torch import Tensor

from ..wavelets.operators import check_level, check_wavelet
from ..wavelets.subbands import parse_bands
from ..wavelets.transform import working_precision
from .base import StagewiseMethod
from .parts.domain import Domain, checked_domain
from .parts.release_pyramid import ReleasePyramid, pyramid_energy
from .registry import register


@register
class DCDRelease(StagewiseMethod):
    r"""Mean squared distance between what the release synthesises from chosen bands, one level at a time.

    $$\mathcal L = \sum_{i=1}^M \frac1l\sum_{k=1}^l \frac1{N_{i,k}}\Big\lVert
    \mathcal R_k\big(F_i^{(t)}\big) - \mathcal R_k\big(\phi_i(F_i^{(s)})\big)\Big\rVert_2^2$$

    $\mathcal R_k$ analyses level $k$ of the pyramid, zeroes every band outside the selection and synthesises that level
    alone. Unlike in the paper (`DCD`), the synthesis does not invert the analysis, volumes are padded with zeros,
    levels are averaged, and φ is not trained. For comparison with results of that code; to distil, use `DCD`.

    Args:
        student_channels: Channels of each student stage, fine to coarse.
        teacher_channels: Channels of each teacher stage, fine to coarse.
        wavelet: Any discrete wavelet that PyWavelets knows.
        level: Number of levels of the pyramid.
        bands: What to match: groups `"A"`, `"D"`, `"S"` joined with `+`, or a list such as `["LLH", "HLL"]`, at
            every level, `LLL` included.
        domain: `"spatial"` compares what is synthesised, as the release does; `"coefficients"` compares the chosen
            bands' coefficients, as many as zero padding makes them, with $N_{i,k}$ their number. The two differ.
        ndim: Number of dimensions of the networks. The release has three; in two, the same is done along two axes.
        train_phi: Whether φ is trained with the student. In the release no optimiser has it, and it stays the random
            map that it starts as.

    Shape:
        Stage `i` takes `(B, C_i, D_i, H_i, W_i)` from both networks, with equal sizes in space; returns a scalar.

    Raises:
        StageMismatch: The networks have different numbers of stages, or a stage's two features differ in space.
        UnknownName: No such wavelet, band or domain.
        UserError: A stage with an axis of one voxel, which the release's synthesis drops.

    Source:
        The public code of Fan et al., Detail Consistent Stage-Wise Distillation for Efficient 3D MRI Segmentation,
        MICCAI 2026: what its training computes, stage by stage. A mean over the stages is only in a function that its
        training does not call. `domain="coefficients"` is not in it.

    Example:
        >>> import torch
        >>> from nndistill.methods import Activations
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
        domain: Domain = "spatial",
        train_phi: bool = False,
        ndim: int = 3,
    ) -> None:
        super().__init__(student_channels, teacher_channels, train_phi=train_phi, ndim=ndim)
        self.pyramid = ReleasePyramid(
            parse_bands(bands, ndim=ndim), check_wavelet(wavelet), check_level(level, lowest=1), checked_domain(domain)
        )

    def stage_loss(self, student: Tensor, teacher: Tensor) -> Tensor:
        energy: Tensor = pyramid_energy(working_precision(teacher) - student, self.pyramid)
        return energy
