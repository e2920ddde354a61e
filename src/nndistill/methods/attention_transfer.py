"""Attention transfer: match where every encoder stage is active, all channels together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, get_args

from torch import Tensor
from torch.nn.functional import mse_loss, normalize

from ..errors import UnknownName
from .base import Activations, Method, check_numbers_of_stages, check_sizes
from .parts.reductions import channel_energy
from .registry import register

Reduction = Literal["sum", "mean"]


@register
class AttentionTransfer(Method):
    r"""Squared distance between the two networks' attention maps, scaled to length one per sample.

    $$\mathcal L = \sum_i \frac1B\Big\lVert \frac{Q_i^{(t)}}{\lVert Q_i^{(t)}\rVert_2}
    - \frac{Q_i^{(s)}}{\lVert Q_i^{(s)}\rVert_2} \Big\rVert_2^2,\qquad Q_i = \sum_c F_{i,c}^2$$

    with B samples. A map has no channels, so there is no projection; a feature's scale drops out.

    Args:
        student_channels: Channels of each student stage; only their number counts.
        teacher_channels: Channels of each teacher stage; only their number counts.
        reduction: `"sum"` over the positions of a stage, as above, so that all stages count alike whatever their size;
            `"mean"` divides each stage by its number of positions, as the published code does, which weighs it by 1000.

    Shape:
        Stage `i` takes `(B, C_i, D_i, H_i, W_i)` from both networks, with equal sizes in space; returns a scalar.

    Raises:
        StageMismatch: The networks have different numbers of stages, or a stage's two features differ in space.
        UnknownName: `reduction` is neither.

    Source:
        Zagoruyko & Komodakis, Paying more attention to attention, ICLR 2017, Eq. 2 with sums of squares, its distance
        squared as in the published code.

    Example:
        >>> import torch
        >>> student, teacher = Activations([torch.rand(1, 2, 4, 4, 4)]), Activations([torch.rand(1, 8, 4, 4, 4)])
        >>> AttentionTransfer([2], [8])(student, teacher).ndim
        0
    """

    name = "at"
    title = "Attention transfer"
    matches = "where a stage is active"
    source_weight = 1.0
    needs = frozenset({"encoder"})

    def __init__(
        self, student_channels: Sequence[int], teacher_channels: Sequence[int], *, reduction: Reduction = "sum"
    ) -> None:
        super().__init__()
        check_numbers_of_stages(student_channels, teacher_channels)
        if reduction not in get_args(Reduction):
            raise UnknownName("reduction", str(reduction), get_args(Reduction))
        self.reduction = reduction
        self.source_weight = 1000.0 if reduction == "mean" else 1.0

    def forward(self, student: Activations, teacher: Activations, target: Tensor | None = None) -> Tensor:
        check_numbers_of_stages(student.encoder, teacher.encoder)
        check_sizes(student.encoder, teacher.encoder)
        return sum(  # type: ignore[return-value]
            self._distance(_attention(s), _attention(t)) for s, t in zip(student.encoder, teacher.encoder, strict=True)
        )

    def _distance(self, student: Tensor, teacher: Tensor) -> Tensor:
        if self.reduction == "mean":
            return mse_loss(student, teacher)
        return mse_loss(student, teacher, reduction="sum") / len(student)


def _attention(features: Tensor) -> Tensor:
    return normalize(channel_energy(features).flatten(1), dim=1)
