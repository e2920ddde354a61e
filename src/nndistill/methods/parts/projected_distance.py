r"""The distance between projected features, straight from the student's channels, with gradients made on the way.

$$\ell = \tfrac1N \lVert \mathcal P(F^t) - \mathcal P(W F^s + b)\rVert_2^2 = \tfrac1N \lVert E\rVert_2^2,
\qquad E = \mathcal P(F^t - W F^s - b)$$

$W$ mixes channels and $\mathcal P$ acts in space, so they commute, and every gradient needs transforms of student
channels only, a quarter of the teacher's:

$$\nabla_{F^s} = -\tfrac2N \mathcal P^\top W^\top E, \qquad \nabla_W = -\tfrac2N E\,(\mathcal P F^s)^\top, \qquad
\nabla_b = -\tfrac2N E\,(\mathcal P 1)^\top$$

If $\mathcal P$ is an orthogonal projection, $\mathcal P^\top E = E$ and $\langle E, \mathcal P F^s\rangle =
\langle E, F^s\rangle$, so no further transform is needed. The teacher's channels are processed in groups; neither
$W F^s$ nor the difference exists in full.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from ...wavelets.band_filter import BandFilter, chunks

GROUP_CHANNELS = 8
GROUP_ELEMENTS = 1 << 22
"""Teacher channels taken together: enough to read the student's features rarely, few enough to stay in the cache."""


@torch.compiler.disable  # type: ignore[untyped-decorator]
def projected_distance(student: Tensor, weight: Tensor, bias: Tensor, teacher: Tensor, spec: BandFilter) -> Tensor:
    r"""Return $\frac1N\lVert\mathcal P(F^t) - \mathcal P(W F^s + b)\rVert_2^2$.

    Args:
        student: $F^s$.
        weight: $W$, of a 1×1×1 convolution.
        bias: $b$.
        teacher: $F^t$; gets no gradient.
        spec: $\mathcal P$.

    Shape:
        `(B, C_s, D, H, W)`, `(C_t, C_s)`, `(C_t,)`, `(B, C_t, D, H, W)` → scalar, float32 (float64 if any input is).
        Half precision is widened a chunk at a time; gradients come back in the type of what they belong to.
    """
    student, teacher = student.as_subclass(Tensor), teacher.as_subclass(Tensor)  # MONAI's carry metadata, slowly
    loss: Tensor = _ProjectedDistance.apply(student, weight, bias, teacher, spec)  # type: ignore[no-untyped-call]
    return loss


class _ProjectedDistance(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, student: Tensor, weight: Tensor, bias: Tensor, teacher: Tensor, spec: BandFilter) -> Tensor:
        with torch.autocast(student.device.type, enabled=False):
            loss, gradients = _distance(student, weight, bias, teacher, spec, ctx.needs_input_grad[:3])
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
        return *scaled, None, None


def _distance(
    student: Tensor, weight: Tensor, bias: Tensor, teacher: Tensor, spec: BandFilter, wanted: tuple[bool, ...]
) -> tuple[Tensor, list[Tensor | None]]:
    """The loss, and its gradients for the student, the weight and the bias where wanted, without the factor -2/N."""
    shape = teacher.shape[2:]
    dtype = torch.promote_types(torch.promote_types(student.dtype, teacher.dtype), torch.float32)
    dtype = torch.promote_types(dtype, weight.dtype)
    W, b = weight.to(dtype), bias.to(dtype)
    orthogonal = spec.is_orthogonal_projection(tuple(shape))
    for_student, for_weight, for_bias = wanted

    widest = dtype if teacher.device.type == "mps" else torch.float64  # Apple's GPUs have no double precision
    loss = torch.zeros((), dtype=widest, device=teacher.device)
    grad_student = torch.empty(student.shape, dtype=dtype, device=student.device) if for_student else None
    grad_weight = torch.zeros_like(W) if for_weight else None
    grad_bias = torch.zeros_like(b) if for_bias else None
    one = spec(torch.ones(1, *shape, dtype=dtype, device=teacher.device)).flatten() if for_bias else None
    groups = _groups(teacher)
    scratch = torch.empty(groups[0].stop if groups else 0, *shape, dtype=dtype, device=teacher.device)

    for sample in range(len(teacher)):
        Fs = student[sample].to(dtype).flatten(1)
        PFs = None
        if for_weight:
            PFs = Fs if orthogonal else spec(Fs.view(-1, *shape)).flatten(1)
        for c in groups:
            Ft = teacher[sample, c]
            E = scratch[: len(Ft)].flatten(1)
            torch.sub(Ft.flatten(1), b[c, None], out=E).addmm_(W[c], Fs, alpha=-1)
            for part in chunks(Ft):
                spec.apply_(scratch[: len(Ft)][part])
            loss += torch.linalg.vector_norm(E).to(widest).square()
            if grad_student is not None:
                grad_student[sample].flatten(1).addmm_(W[c].mT, E, beta=float(c.start > 0))
            if grad_weight is not None and PFs is not None:
                grad_weight[c].addmm_(E, PFs.mT)
            if grad_bias is not None and one is not None:
                grad_bias[c].addmv_(E, one)
        if grad_student is not None and not orthogonal:
            for c in chunks(grad_student[sample]):
                spec.apply_(grad_student[sample, c], transposed=True)
    return (loss / max(1, teacher.numel())).to(dtype), [grad_student, grad_weight, grad_bias]


def _groups(x: Tensor) -> list[slice]:
    """Runs of channels of `(B, C, D, H, W)` for which the student's features are read once."""
    channels = x.shape[1]
    step = channels if x.is_cuda else max(GROUP_CHANNELS, GROUP_ELEMENTS * channels * len(x) // max(1, x.numel()))
    return [slice(first, min(first + step, channels)) for first in range(0, channels, step)] if x.numel() else []
