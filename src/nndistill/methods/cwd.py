"""Channel-wise distillation: match where in the volume each channel is active (CWD)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Literal, get_args

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from ..errors import UnknownName
from ..wavelets.chunking import chunked
from .base import Activations, StagewiseMethod
from .parts.reductions import widened
from .parts.softening import checked_temperature, matching_logits
from .registry import register

Match = Literal["logits", "encoder"]

CHUNK_ELEMENTS = 1 << 20
"""Voxels, over all channels, whose probabilities exist at the same time on a CPU."""


@register
class CWD(StagewiseMethod):
    r"""Divergence of each channel's distribution over all positions, mean over channels.

    $$\mathcal L = \frac{T^2}{C}\sum_c \mathrm{KL}\big(p^{(t)}_c \,\Vert\, p^{(s)}_c\big),\qquad
    p_c = \operatorname*{softmax}_{\text{positions}}(z_c / T)$$

    per sample, then the mean over the batch. The softmax is taken over positions, not over channels: what counts is
    where a channel is active, relative to its own maximum; a constant added to it changes nothing.

    Args:
        student_channels: Channels of each student stage, fine to coarse.
        teacher_channels: Channels of each teacher stage, fine to coarse.
        temperature: $T$; 4 in the source.
        match: `"logits"` compares the maps of the classes and has no projection; `"encoder"` compares the encoder
            stages after φ, and sums over them. The source does both.
        train_phi: Whether φ is trained with the student, or stays the random map that it starts as. Without effect on
            logits, where there is none.
        ndim: Number of dimensions of the networks.

    Shape:
        Logits `(B, classes, D, H, W)`, or stages `(B, C_i, D_i, H_i, W_i)` with equal sizes in space, of both networks;
        returns a scalar.

    Raises:
        UserError: The temperature is not above zero.
        UnknownName: `match` is neither.
        StageMismatch: What is compared differs in space, or in the number of stages or classes.

    Source:
        Shu et al., Channel-wise knowledge distillation for dense prediction, ICCV 2021. There φ is
        followed by batch normalisation and ReLU; here it is the 1×1×1 convolution of every other method.

    Example:
        >>> import torch
        >>> student, teacher = (Activations([], logits=torch.rand(1, 2, 8, 8, 8)) for _ in range(2))
        >>> CWD(temperature=2)(student, teacher).ndim
        0
    """

    name = "cwd"
    title = "CWD"
    matches = "where each channel is active"
    source_weight = 3.0

    def __init__(
        self,
        student_channels: Sequence[int] = (),
        teacher_channels: Sequence[int] = (),
        *,
        temperature: float = 4.0,
        match: Match = "logits",
        train_phi: bool = True,
        ndim: int = 3,
    ) -> None:
        if match not in get_args(Match):
            raise UnknownName("value of match", str(match), get_args(Match))
        on_stages = match == "encoder"
        super().__init__(
            student_channels if on_stages else (),
            teacher_channels if on_stages else (),
            train_phi=train_phi,
            ndim=ndim,
        )
        self.needs = frozenset({match})
        self.source_weight = 50.0 if on_stages else 3.0
        self.temperature = checked_temperature(temperature)

    def forward(self, student: Activations, teacher: Activations, target: Tensor | None = None) -> Tensor:
        if "encoder" in self.needs:
            return super().forward(student, teacher, target)
        s, t = matching_logits(student, teacher)
        return self.stage_loss(s, t)

    def stage_loss(self, student: Tensor, teacher: Tensor) -> Tensor:
        s, t = student.flatten(2).flatten(0, 1), teacher.flatten(2).flatten(0, 1)
        divergence: Tensor = _DivergenceOverPositions.apply(s, t, self.temperature)  # type: ignore[no-untyped-call]
        return self.temperature**2 * divergence.mean()


class _DivergenceOverPositions(torch.autograd.Function):
    """KL between the rows of two `(rows, positions)`, written as in `Logits`.

    Both passes work through a few rows at a time and keep one number per row, so that no map of probabilities exists in
    full next to the features.
    """

    @staticmethod
    def forward(ctx: Any, student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
        divergences, partitions = [], []
        for _, s, t in _soft_rows(student, teacher, temperature):
            log_z = torch.stack([s.logsumexp(1), t.logsumexp(1)], dim=1)
            divergences.append(log_z[:, 0] - log_z[:, 1] - (t.softmax(1) * (s - t)).sum(1))
            partitions.append(log_z)
        ctx.save_for_backward(student, teacher, torch.cat(partitions))
        ctx.temperature = temperature
        return torch.cat(divergences)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        student, teacher, log_z = ctx.saved_tensors
        scale = gradient / ctx.temperature
        result = torch.empty_like(student)
        for rows, s, t in _soft_rows(student, teacher, ctx.temperature):
            p_s, p_t = (s - log_z[rows, :1]).exp_(), (t - log_z[rows, 1:]).exp_()
            result[rows] = p_s.sub_(p_t).mul_(scale[rows, None])
        return result, None, None


def _soft_rows(student: Tensor, teacher: Tensor, temperature: float) -> Iterator[tuple[slice, Tensor, Tensor]]:
    number, positions = student.shape
    for rows in chunked(number, positions, student.device, in_cache=CHUNK_ELEMENTS):
        yield rows, widened(student[rows]) / temperature, widened(teacher[rows]) / temperature
