"""Detail Consistent Distillation: match the directional detail of every encoder stage."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal, get_args

from torch import Tensor, nn
from torch.nn.functional import mse_loss

from ..errors import UnknownName, UserError
from ..wavelets import SubbandProjection, wavedecn
from ..wavelets.band_filter import LARGEST_DENSE_VOLUME
from ..wavelets.subbands import Bands, pywavelets_key
from ..wavelets.transform import working_precision
from .base import Activations, StagewiseMethod
from .parts.domain import Domain, checked_domain
from .parts.fused.distance import fused_distance, refuse_unfit
from .parts.kernels import Kernels, checked_kernels, refuse_where_triton_cannot_run
from .parts.phi import CONVOLUTIONS
from .parts.projected_distance import projected_distance
from .parts.reductions import sum_over_channels
from .parts.softening import matching_logits
from .registry import register

Match = Literal["encoder", "decoder", "logits"]


@register
class DCD(StagewiseMethod):
    r"""Squared distance between the chosen wavelet subbands of teacher features and projected student features.

    $$\mathcal L = \sum_i \frac1{N_i}\Big\lVert \mathcal P\big(F_i^{(t)}\big)
    - \mathcal P\big(\phi_i(F_i^{(s)})\big)\Big\rVert_2^2$$

    Args:
        student_channels: Channels of each student stage, fine to coarse.
        teacher_channels: Channels of each teacher stage, fine to coarse.
        wavelet: Any discrete wavelet that PyWavelets knows.
        level: Number of levels of the pyramid.
        bands: What to match: groups `"A"`, `"D"`, `"S"` joined with `+`, a list such as `["LLH", "HLL"]`, or weights by
            which they are multiplied before they are compared, such as `{"A": 1, "D": 0.9}`.
        mode: One of PyWavelets' nine boundary modes.
        domain: `"spatial"` transforms the chosen subbands back before comparing, as the paper does;
            `"coefficients"` compares the coefficients themselves, its ablation. Both divide by the number of feature
            elements $N_i$, so that under periodization, where energy is preserved, they are the same number.
        train_phi: Whether φ is trained with the student, or stays the random map that it starts as.
        match: `"encoder"` compares the encoder's stages, as the paper does; `"decoder"` the decoder's, which has all
            but the coarsest; `"logits"` the networks' outputs as if they were one stage, without φ, voxels that a
            target leaves out included. Only the first has a source weight.
        ndim: Number of dimensions of the networks, and of letters of a band.
        loss_every: 1 returns the loss as above. A larger number saves time: the value returned is that of every
            `loss_every`-th teacher channel alone, while the gradients stay those of all. For `domain="spatial"`.
        kernels: `"torch"` computes with PyTorch's matrix products on every device. `"triton"` computes the same loss
            and gradients with less memory traffic, on CUDA only, for the defaults of `bands`, `domain` and `loss_every`
            in three dimensions and the modes `"symmetric"` and `"periodization"`. Experimental: it was tested in
            Triton's interpreter and has not run on a GPU yet.

    Shape:
        Stage `i` takes `(B, C_i, D_i, H_i, W_i)` from both networks, with equal sizes in space, or there are logits
        `(B, classes, D, H, W)` of both; returns a scalar.

    Raises:
        StageMismatch: The networks have different numbers of stages, or a stage's two features or the logits differ in
            size.
        UnknownName: No such wavelet, mode, band, domain or `match`.
        UserError: A size that PyWavelets refuses in this mode, an impossible `loss_every`, or `kernels="triton"` with
            an option or on a device that they do not support.

    Source:
        Fan et al., Detail Consistent Stage-Wise Distillation for Efficient 3D MRI Segmentation, MICCAI 2026, Eq. 7.

    Example:
        >>> import torch
        >>> from nndistill.methods import Activations
        >>> student, teacher = Activations([torch.rand(1, 8, 8, 8, 8)]), Activations([torch.rand(1, 32, 8, 8, 8)])
        >>> DCD([8], [32], bands="A+D")(student, teacher).ndim
        0
    """

    name = "dcd"
    title = "DCD"
    matches = "chosen wavelet subbands, by default the directional detail"
    source_weight: float | None = 0.05

    def __init__(
        self,
        student_channels: Sequence[int],
        teacher_channels: Sequence[int],
        *,
        wavelet: str = "db4",
        level: int = 3,
        bands: Bands = "D",
        mode: str = "symmetric",
        domain: Domain = "spatial",
        train_phi: bool = True,
        loss_every: int = 1,
        kernels: Kernels = "torch",
        match: Match = "encoder",
        ndim: int = 3,
    ) -> None:
        if match not in get_args(Match):
            raise UnknownName("value of match", str(match), get_args(Match))
        stages = {"encoder": slice(None), "decoder": slice(-1), "logits": slice(0)}[match]
        super().__init__(student_channels[stages], teacher_channels[stages], train_phi=train_phi, ndim=ndim)
        self.needs = frozenset({match})
        self.source_weight = DCD.source_weight if match == "encoder" else None
        self.domain = checked_domain(domain)
        self.loss_every = _checked_loss_every(loss_every, self.domain)
        self.projection = SubbandProjection(bands, wavelet=wavelet, level=level, mode=mode, ndim=ndim)
        self.kernels = checked_kernels(kernels)
        if self.kernels == "triton":
            refuse_unfit(self.projection.filter, domain=self.domain, loss_every=self.loss_every)
        if match == "logits" and (self.loss_every > 1 or self.kernels == "triton"):
            raise UserError(
                "loss_every and kernels save work on the teacher's many channels, of which logits have few. Leave them "
                "out with match=logits."
            )

    def forward(self, student: Activations, teacher: Activations, target: Tensor | None = None) -> Tensor:
        if "logits" in self.needs:
            return self.stage_loss(*matching_logits(student, teacher))
        if "decoder" in self.needs:
            student, teacher = Activations(student.decoder), Activations(teacher.decoder)
        return super().forward(student, teacher, target)

    def projected_stage_loss(self, phi: nn.Module, student: Tensor, teacher: Tensor) -> Tensor:
        if self.domain == "coefficients" or not isinstance(phi, CONVOLUTIONS):
            return self.stage_loss(phi(student), teacher)
        weight, spec = phi.weight.flatten(1), self.projection.filter
        loss: Tensor
        if self.kernels == "triton":
            refuse_where_triton_cannot_run(student.device, student.dtype, teacher.dtype, weight.dtype)
            if math.prod(student.shape[2:]) > LARGEST_DENSE_VOLUME:
                loss = fused_distance(student, weight, phi.bias, teacher, spec)
                return loss
        loss = projected_distance(student, weight, phi.bias, teacher, spec, every=self.loss_every)
        return loss

    def stage_loss(self, student: Tensor, teacher: Tensor) -> Tensor:
        difference = working_precision(teacher) - student
        if self.domain == "spatial":
            projected = self.projection(difference)
            return mse_loss(projected, projected.new_zeros(()).expand_as(projected))
        energy: Tensor = sum_over_channels(difference, self._coefficient_energy)
        return energy / difference.numel()

    def _coefficient_energy(self, x: Tensor) -> Tensor:
        spec = self.projection.filter
        weights = {pywavelets_key(band): weight for band, weight in spec.weight_of.items() if weight}
        approximation, *details = wavedecn(x, spec.wavelet, ndim=spec.ndim, mode=spec.mode, level=spec.level)
        chosen = [(weights[key], band) for level in details for key, band in level.items() if key in weights]
        if (key := "a" * spec.ndim) in weights:
            chosen.append((weights[key], approximation))
        energies = [weight**2 * band.square().sum() for weight, band in chosen]
        energy: Tensor = energies[0]
        for further in energies[1:]:
            energy = energy + further
        return energy


def _checked_loss_every(value: int, domain: Domain) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise UserError(f"loss_every must be a whole number of at least 1, not {value!r}.")
    if value > 1 and domain == "coefficients":
        raise UserError(
            "loss_every saves transforms of domain 'spatial', and domain 'coefficients' needs them all. "
            "Leave one of the two out."
        )
    return value
