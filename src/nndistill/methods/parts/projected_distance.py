r"""The distance between projected features, straight from the student's channels, with gradients made on the way.

$$\ell = \tfrac1N \lVert \mathcal P(F^t) - \mathcal P(W F^s + b)\rVert_2^2 = \tfrac1N \lVert \mathcal P R\rVert_2^2,
\qquad R = F^t - W F^s - b$$

$W$ mixes channels and $\mathcal P$ acts in space, so they commute, and every gradient needs transforms of student
channels only, a quarter of the teacher's:

$$\nabla_{F^s} = -\tfrac2N\, \mathcal P^\top \mathcal P\, (W^\top R), \qquad
\nabla_W = -\tfrac2N\, R\,(\mathcal P^\top \mathcal P F^s)^\top, \qquad
\nabla_b = -\tfrac2N\, R\,(\mathcal P^\top \mathcal P 1)^\top$$

The value alone needs $E = \mathcal P R$ of the teacher's many channels. There are two ways:

- The value of all channels. With $E$ at hand, $\nabla_{F^s} = -\frac2N \mathcal P^\top W^\top E$ and
  $\nabla_W = -\frac2N E\,(\mathcal P F^s)^\top$: one transform each, and none if $\mathcal P$ is an orthogonal
  projection, as then $\mathcal P^\top E = E$ and $\langle E, \mathcal P F^s\rangle = \langle E, F^s\rangle$.
- The value of every $k$-th channel. $R$ is never formed: $W^\top R = W^\top F^t - (W^\top W) F^s - W^\top b$, and so
  on.

The bias is one more channel of the student, all ones, wherever $\mathcal P$ leaves anything of a constant. Where it
does not (the detail bands, in most modes), the bias has no part in the distance and its gradient is zero.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from ...wavelets.band_filter import BandFilter
from ...wavelets.chunking import works_in_cache
from ...wavelets.full_precision import full_precision
from ...wavelets.without_autocast import without_autocast

TILE_CHANNELS = 8
TILE_ELEMENTS = 1 << 22
"""Teacher channels taken together on a CPU: enough to read the student's features rarely, few enough for the cache."""

TILE_ELEMENTS_ELSEWHERE = 1 << 27
"""Where calls are what costs, all channels and as many samples as this: half a gigabyte, and the transform needs it
twice more."""

COLUMN_ELEMENTS = 1 << 20
"""Of the teacher's features, taken together on a CPU if all channels of some voxels are."""


@torch.compiler.disable  # type: ignore[untyped-decorator]
def projected_distance(
    student: Tensor, weight: Tensor, bias: Tensor | None, teacher: Tensor, spec: BandFilter, *, every: int = 1
) -> Tensor:
    r"""Return $\frac1N\lVert\mathcal P(F^t) - \mathcal P(W F^s + b)\rVert_2^2$.

    Args:
        student: $F^s$.
        weight: $W$, of a 1×1×1 convolution.
        bias: $b$, if it has one.
        teacher: $F^t$; gets no gradient.
        spec: $\mathcal P$.
        every: The value is that of every `every`-th teacher channel. The gradient is that of all of them in any case.

    Shape:
        `(B, C_s, D, H, W)`, `(C_t, C_s)`, `(C_t,)`, `(B, C_t, D, H, W)` → scalar, float32 (float64 if any input is).
        Half precision is widened a tile at a time; gradients come back in the type of what they belong to.
    """
    student, teacher = student.as_subclass(Tensor), teacher.as_subclass(Tensor)  # MONAI's carry metadata, slowly
    if bias is None:
        bias = weight.new_zeros(len(weight))
    loss: Tensor = _ProjectedDistance.apply(student, weight, bias, teacher, spec, every)  # type: ignore[no-untyped-call]
    return loss


class _ProjectedDistance(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, student: Tensor, weight: Tensor, bias: Tensor, teacher: Tensor, spec: BandFilter, every: int
    ) -> Tensor:
        with without_autocast(student.device), full_precision():
            loss, gradients = _distance(student, weight, bias, teacher, spec, every, ctx.needs_input_grad[:3])
        ctx.save_for_backward(*gradients)
        ctx.scale = -2 / max(1, teacher.numel())
        ctx.types = [x.dtype for x in (student, weight, bias)]
        return loss

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        gradient = gradient * ctx.scale
        scaled = [
            None if saved is None else (saved * gradient).to(dtype)
            for saved, dtype in zip(ctx.saved_tensors, ctx.types, strict=True)
        ]
        return *scaled, None, None, None


@dataclass(frozen=True)
class _Stage:
    r"""One stage, flat in space.

    Args:
        teacher: $F^t$, `(B, C_t, V)`, in the precision it has.
        student: $F^s$, `(B, C_s, V)`, and a channel of ones if the bias counts; in working precision, as all that
            follows.
        weight: $W$, and $b$ as the weights of that channel.
        channels: $C_s$.
        spec: $\mathcal P$, on volumes of this `shape`.
    """

    teacher: Tensor
    student: Tensor
    weight: Tensor
    channels: int
    spec: BandFilter
    shape: tuple[int, ...]

    @property
    def is_orthogonal(self) -> bool:
        return self.spec.is_orthogonal_projection(self.shape)

    @property
    def back(self) -> Tensor:
        r"""$W^\top$ without the bias, to the student's channels."""
        return self.weight[:, : self.channels].mT

    def project_(self, x: Tensor, *, transposed: bool = False) -> Tensor:
        r"""Apply $\mathcal P$, or its transpose, to contiguous `(B, C, V)`."""
        self.spec.apply_(x.view(-1, *self.shape), transposed=transposed)
        return x

    def projected_student(self, *, and_back: bool) -> Tensor:
        r"""$\mathcal P$ of the student's features, or $\mathcal P^\top \mathcal P$ of them."""
        if self.is_orthogonal and not and_back:
            return self.student  # ⟨E, P F⟩ = ⟨E, F⟩
        projected = self.project_(self.student[:, : self.channels].clone(memory_format=torch.contiguous_format))
        if and_back and not self.is_orthogonal:
            self.project_(projected, transposed=True)
        if self.student.shape[1] == self.channels:
            return projected
        one = self.spec.of_constant(self.shape, projected.device, projected.dtype, and_back=and_back)
        assert one is not None
        return torch.cat([projected, one.view(1, 1, -1).expand(len(projected), -1, -1)], dim=1)


def _distance(
    student: Tensor, weight: Tensor, bias: Tensor, teacher: Tensor, spec: BandFilter, every: int, wanted: Sequence[bool]
) -> tuple[Tensor, list[Tensor | None]]:
    """The loss, and its gradients for the student, the weight and the bias where wanted, without the factor -2/N."""
    shape, channels = tuple(teacher.shape[2:]), student.shape[1]
    dtype = torch.promote_types(torch.promote_types(student.dtype, teacher.dtype), torch.float32)
    dtype = torch.promote_types(dtype, weight.dtype)
    F, W, b = student.to(dtype).flatten(2), weight.to(dtype), bias.to(dtype)
    bias_counts = spec.of_constant(shape, F.device, dtype) is not None
    if bias_counts:
        F = torch.cat([F, F.new_ones(len(F), 1, F.shape[2])], dim=1)
        W = torch.cat([W, b[:, None]], dim=1)
    for_student, for_weight, for_bias = wanted
    stage = _Stage(teacher.flatten(2), F, W, channels, spec, shape)
    if every == 1:
        loss, grad_student, grad_weight = _value_of_all(stage, for_student, for_weight or for_bias)
    else:
        grad_student, grad_weight = _gradients(stage, for_student, for_weight or for_bias)
        some = replace(stage, teacher=stage.teacher[:, ::every], weight=stage.weight[::every])
        loss = _value_of_all(some, False, False)[0]
        gradient = grad_student if grad_weight is None else grad_weight
        if gradient is not None:
            loss = loss + 0 * gradient.sum()  # not finite if any feature is not, whichever channel it is in
    grad_bias = grad_weight[:, channels:].sum(1) if grad_weight is not None else None  # the sum of one, or of none
    return loss.to(dtype), [
        None if grad_student is None else grad_student.view_as(student),
        grad_weight[:, :channels] if for_weight and grad_weight is not None else None,
        grad_bias if for_bias else None,
    ]


def _value_of_all(stage: _Stage, for_student: bool, for_weight: bool) -> tuple[Tensor, Tensor | None, Tensor | None]:
    """The loss and its gradients from $E$."""
    F, W, back = stage.student, stage.weight, stage.back
    widest = F.dtype if F.device.type == "mps" else torch.float64  # Apple's GPUs have no double precision
    loss = torch.zeros((), dtype=widest, device=F.device)
    grad_student = F.new_empty(len(F), stage.channels, F.shape[2]) if for_student else None
    grad_weight = torch.zeros_like(W) if for_weight else None
    projected = stage.projected_student(and_back=False) if for_weight else F
    tiles = _tiles(stage.teacher)
    scratch = F.new_empty(stage.teacher[tiles[0]].shape if tiles else 0)
    for samples, channels in tiles:
        features = stage.teacher[samples, channels]
        E = scratch[: features.shape[0], : features.shape[1]]
        mix = W[channels].expand(len(E), -1, -1)
        torch.baddbmm(features if features.dtype == E.dtype else E.copy_(features), mix, F[samples], alpha=-1, out=E)
        stage.project_(E)
        loss += torch.linalg.vector_norm(E).to(widest).square()
        if grad_student is not None:
            mix_back = back[:, channels].expand(len(E), -1, -1)
            grad_student[samples].baddbmm_(mix_back, E, beta=float(channels.start > 0))
        if grad_weight is not None:
            grad_weight[channels] += torch.bmm(E, projected[samples].mT).sum(0)
    if grad_student is not None and not stage.is_orthogonal:
        stage.project_(grad_student, transposed=True)
    return loss / max(1, stage.teacher.numel()), grad_student, grad_weight


def _gradients(stage: _Stage, for_student: bool, for_weight: bool) -> tuple[Tensor | None, Tensor | None]:
    """The gradients from transforms of the student's channels alone; the teacher's features are read once."""
    F, W, back = stage.student, stage.weight, stage.back
    grad_student = F.new_empty(len(F), stage.channels, F.shape[2]) if for_student else None
    grad_weight = torch.zeros_like(W) if for_weight else None
    projected = stage.projected_student(and_back=True) if for_weight else F
    mix = back @ W
    for samples, voxels in _columns(stage.teacher):
        features = stage.teacher[samples, :, voxels].to(F.dtype)
        many = (len(features), -1, -1)
        own = F[samples, :, voxels]
        if grad_student is not None:
            target = grad_student[samples, :, voxels]
            target.baddbmm_(back.expand(many), features, beta=0).baddbmm_(mix.expand(many), own, alpha=-1)
        if grad_weight is not None:
            grad_weight += torch.bmm(features, projected[samples, :, voxels].mT).sum(0)
    if grad_weight is not None:
        grad_weight -= W @ torch.bmm(F, projected.mT).sum(0)
    if grad_student is not None:
        stage.project_(grad_student)
        if not stage.is_orthogonal:
            stage.project_(grad_student, transposed=True)
    return grad_student, grad_weight


def _tiles(x: Tensor) -> list[tuple[slice, slice]]:
    """Runs of samples and channels of `(B, C, V)` for which the student's features are read once."""
    samples, channels, voxels = x.shape
    if not x.numel():
        return []
    in_cache = works_in_cache(x.device)
    elements = TILE_ELEMENTS if in_cache else TILE_ELEMENTS_ELSEWHERE
    many = min(channels, max(TILE_CHANNELS, elements // voxels)) if in_cache else channels
    several = max(1, elements // (channels * voxels))
    return [
        (slice(b, min(b + several, samples)), slice(c, min(c + many, channels)))
        for b in range(0, samples, several)
        for c in range(0, channels, many)
    ]


def _columns(x: Tensor) -> list[tuple[slice, slice]]:
    """Runs of samples and voxels of `(B, C, V)` that stay in a CPU's cache while they are used."""
    samples, channels, voxels = x.shape
    if not works_in_cache(x.device) or not x.numel():
        return [(slice(samples), slice(voxels))]
    run = max(1, COLUMN_ELEMENTS // channels)
    return [(slice(b, b + 1), slice(v, v + run)) for b in range(samples) for v in range(0, voxels, run)]
