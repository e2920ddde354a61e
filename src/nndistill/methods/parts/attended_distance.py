r"""The distance between two features under the attention of one of them, with its gradient made on the way.

Of features $F$ with $C$ channels and $N$ positions, attention says which positions and which channels are active:

$$A_S(n) = N\operatorname*{softmax}_n\Big(\tfrac1{CT}\sum_c |F_{cn}|\Big),\qquad
A_C(c) = C\operatorname*{softmax}_c\Big(\tfrac1{NT}\sum_n |F_{cn}|\Big)$$

The features are read a block of positions at a time, twice: once for the attention, once for loss and gradient. Beside
them, only the gradient exists in full.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from ...wavelets.chunking import chunked
from .reductions import CHUNK_ELEMENTS, widened


@torch.compiler.disable  # type: ignore[untyped-decorator]
def attended_distance(student: Tensor, teacher: Tensor, shares: Tensor, temperature: float) -> Tensor:
    r"""Return the sum of three terms: under the teacher's attention, between the attentions, and over everything.

    $$\frac1C\sum_{b,n,c} M_{bn}\, A_S^{(t)}\! A_C^{(t)}\, D_{bcn}^2 \;+\; \big\langle|A_S^{(s)} - A_S^{(t)}|\big\rangle
    + \big\langle|A_C^{(s)} - A_C^{(t)}|\big\rangle \;+\; \langle D^2\rangle,\qquad D = F^{(s)} - F^{(t)}$$

    Args:
        student: $F^{(s)}$, in single precision at least.
        teacher: $F^{(t)}$; gets no gradient.
        shares: $M$, how much each position counts.
        temperature: $T$.

    Shape:
        `(B, C, *positions)` twice, and `(B, *positions)` → scalar.
    """
    student, teacher = student.as_subclass(Tensor).flatten(2), teacher.as_subclass(Tensor).flatten(2)
    shares = shares.as_subclass(Tensor).flatten(1)
    loss: Tensor = _AttendedDistance.apply(student, teacher, shares, temperature)  # type: ignore[no-untyped-call]
    return loss


class _AttendedDistance(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, student: Tensor, teacher: Tensor, shares: Tensor, temperature: float) -> Tensor:
        elements, (_, channels, positions) = student.numel(), student.shape
        space_s, channel_s = _attention(student, temperature)
        space_t, channel_t = _attention(teacher, temperature)
        emphasis = shares.to(student.dtype) * space_t / channels
        loss = (space_s - space_t).abs().mean() + (channel_s - channel_t).abs().mean()
        gradient = torch.empty_like(student) if ctx.needs_input_grad[0] else None
        of_space = _slope(space_s, space_t, temperature) / channels
        of_channel = _slope(channel_s, channel_t, temperature) / positions

        weights = 2 * channel_t.unsqueeze(2)
        for n in _blocks(student):
            F, emphasised = student[..., n], emphasis[:, n].unsqueeze(1)
            D = F - widened(teacher[..., n])
            squares = D.square()
            loss += (channel_t * (squares @ emphasised.mT).squeeze(2)).sum() + squares.sum() / elements
            if gradient is not None:
                towards = F.sign().mul_(of_space[:, n].unsqueeze(1) + of_channel.unsqueeze(2))
                gradient[..., n] = towards.addcmul_(D, (weights * emphasised).add_(2 / elements))
        if gradient is not None:
            ctx.save_for_backward(gradient)
        return loss

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None, None]:
        (saved,) = ctx.saved_tensors
        return saved * gradient, None, None, None


def _attention(features: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
    """$A_S$ and $A_C$: `(B, C, N)` → `(B, N)`, `(B, C)`."""
    batch, channels, positions = features.shape
    kept = torch.promote_types(features.dtype, torch.float32)
    of_positions = features.new_zeros((batch, positions), dtype=kept)
    of_channels = features.new_zeros((batch, channels), dtype=kept)
    for n in _blocks(features):
        sizes = widened(features[..., n]).abs()
        of_positions[:, n] = sizes.mean(1)
        of_channels += sizes.sum(2) / positions
    return positions * (of_positions / temperature).softmax(1), channels * (of_channels / temperature).softmax(1)


def _blocks(features: Tensor) -> list[slice]:
    """Runs of positions of `(B, C, N)`, all samples and channels together."""
    batch, channels, positions = features.shape
    return chunked(positions, batch * channels, features.device, in_cache=CHUNK_ELEMENTS)


def _slope(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """Gradient of the mean absolute difference of two attentions for what the student's softmax was taken of."""
    towards = (student - teacher).sign() / student.numel()
    along = (towards * student).sum(1, keepdim=True) / student.shape[1]
    return student * (towards - along) / temperature
