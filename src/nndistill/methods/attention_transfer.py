"""Attention transfer: match where every encoder stage is active, all channels together."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor
from torch.nn.functional import mse_loss, normalize

from .base import Activations, Method, check_numbers_of_stages, check_sizes
from .parts.reductions import channel_energy
from .registry import register


@register
class AttentionTransfer(Method):
    r"""Mean squared error between the two networks' attention maps, scaled to length one per sample.

    $$\mathcal L = \sum_i \frac1{B\,N_i}\Big\lVert \frac{Q_i^{(t)}}{\lVert Q_i^{(t)}\rVert_2}
    - \frac{Q_i^{(s)}}{\lVert Q_i^{(s)}\rVert_2} \Big\rVert_2^2,\qquad Q_i = \sum_c F_{i,c}^2$$

    with $N_i$ positions. A map has no channels, so there is no projection; a feature's scale drops out.

    Args:
        student_channels: Channels of each student stage; only their number counts.
        teacher_channels: Channels of each teacher stage; only their number counts.

    Shape:
        Stage `i` takes `(B, C_i, D_i, H_i, W_i)` from both networks, with equal sizes in space; returns a scalar.

    Raises:
        StageMismatch: The networks have different numbers of stages, or a stage's two features differ in space.

    Source:
        Zagoruyko & Komodakis, Paying more attention to attention, ICLR 2017, Eq. 2 with sums of squares, and the mean
        over positions of its published code, which weighs it by 1000.

    Example:
        >>> import torch
        >>> student, teacher = Activations([torch.rand(1, 2, 4, 4, 4)]), Activations([torch.rand(1, 8, 4, 4, 4)])
        >>> AttentionTransfer([2], [8])(student, teacher).ndim
        0
    """

    name = "at"
    title = "Attention transfer"
    matches = "where a stage is active"
    source_weight = 1000.0
    needs = frozenset({"encoder"})

    def __init__(self, student_channels: Sequence[int], teacher_channels: Sequence[int]) -> None:
        super().__init__()
        check_numbers_of_stages(student_channels, teacher_channels)

    def forward(self, student: Activations, teacher: Activations, target: Tensor | None = None) -> Tensor:
        check_numbers_of_stages(student.encoder, teacher.encoder)
        check_sizes(student.encoder, teacher.encoder)
        return sum(  # type: ignore[return-value]
            mse_loss(_attention(s), _attention(t)) for s, t in zip(student.encoder, teacher.encoder, strict=True)
        )


def _attention(features: Tensor) -> Tensor:
    return normalize(channel_energy(features).flatten(1), dim=1)
