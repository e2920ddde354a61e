r"""The distance between projected features with Triton's kernels: little is read, and nothing wide is written in full.

With $M = \mathcal P^\top \mathcal P$ and features less a constant per channel, which $\mathcal P$ removes,

$$N\ell = \lVert\mathcal P(F^t - W F^s)\rVert^2
= \langle F^t, M F^t\rangle - 2\,\langle W, C\rangle + \langle W, W G\rangle,
\qquad C = F^t M F^{s\top},\quad G = F^s M F^{s\top},$$

$$\nabla_W = -\tfrac2N (C - W G),\qquad \nabla_{F^s} = -\tfrac2N\, M\,(W^\top F^t - W^\top W F^s).$$

$M = I - B^\top \Phi B$ (`wavelets.fused.axis`), so each of these is a product of features minus one of coefficients, an
eighth of them. $B$ works on each channel by itself, without $W$, and $W$ mixes coefficients as it mixes features. So
the teacher's features are read twice: for their coefficients, and for the products. The second reading also takes
$B^\top \Phi B$ away from the student's few channels.

The products are differences of sums in double precision, and each summand has a rounding error of its own. So their
errors are those of float32 relative to the features, not to their detail: larger by as much as the detail is smaller.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from ....errors import UserError
from ....wavelets.band_filter import BandFilter
from ....wavelets.full_precision import full_precision
from ....wavelets.fused.axis import NOTHING
from ....wavelets.fused.pyramid import Coefficients, Cross, Pyramid, pyramid
from ....wavelets.operators import inversion_error
from ....wavelets.subbands import parse_bands
from ....wavelets.without_autocast import without_autocast
from .products import Products, products, scaled

INVERTED = 32
"""Samples of the axis on which a wavelet shows whether it has an inverse."""

SAMPLED = 4
"""Every how many planes and rows count for the constant that is subtracted."""

MODES = ("symmetric", "periodization")
"""In which boundaries continue a constant as a constant, and few coefficients are needed twice."""


def refuse_unfit(spec: BandFilter, *, domain: str, loss_every: int) -> None:
    """Refuse what `fused_distance` does not compute.

    Raises:
        UserError: One option is not among those that it is made for.
    """
    given = {
        "bands": spec.bands == parse_bands("D", ndim=spec.ndim) and not spec.weights,
        "domain": domain == "spatial",
    }
    given |= {"loss_every": loss_every == 1, "ndim": spec.ndim == 3, "mode": spec.mode in MODES}
    wrong = [name for name, fits in given.items() if not fits]
    if wrong:
        raise UserError(
            "kernels 'triton' are made for bands 'D' in domain 'spatial', the value of every channel, three dimensions "
            f"and the modes {' and '.join(MODES)}: change {' and '.join(wrong)}, or choose kernels 'torch'.",
            option="option",
        )
    if inversion_error(spec.wavelet, spec.mode, INVERTED) > NOTHING:
        raise UserError(
            f"kernels 'triton' need a wavelet with an exact inverse, and {spec.wavelet!r} has none; choose kernels "
            "'torch'.",
            option="option",
        )


@torch.compiler.disable  # type: ignore[untyped-decorator]
def fused_distance(student: Tensor, weight: Tensor, bias: Tensor | None, teacher: Tensor, spec: BandFilter) -> Tensor:
    r"""Return $\frac1N\lVert\mathcal P_{\mathcal D}(F^t) - \mathcal P_{\mathcal D}(W F^s)\rVert_2^2$.

    Args:
        student: $F^s$, in single or half precision.
        weight: $W$, of a 1×1×1 convolution.
        bias: Its bias, if it has one. It has no part in the distance, and its gradient is zero.
        teacher: $F^t$; gets no gradient.
        spec: $\mathcal P_{\mathcal D}$.

    Shape:
        `(B, C_s, D, H, W)`, `(C_t, C_s)`, `(C_t,)`, `(B, C_t, D, H, W)` → scalar, float32.
    """
    student, teacher = student.as_subclass(Tensor), teacher.as_subclass(Tensor)
    loss: Tensor = _FusedDistance.apply(student, weight, bias, teacher, spec)  # type: ignore[no-untyped-call]
    return loss


class _FusedDistance(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, student: Tensor, weight: Tensor, bias: Tensor | None, teacher: Tensor, spec: BandFilter
    ) -> Tensor:
        with without_autocast(student.device), full_precision():
            loss, grad_student, grad_weight = _distance(student, weight.float().contiguous(), teacher, spec)
        ctx.save_for_backward(grad_student, grad_weight)
        ctx.scale = -2 / max(1, teacher.numel())
        ctx.weight_type, ctx.bias = weight.dtype, bias
        return loss

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        grad_student, grad_weight = ctx.saved_tensors
        factor = gradient.float() * ctx.scale
        return (
            scaled(grad_student, factor) if ctx.needs_input_grad[0] else None,
            (grad_weight * factor).to(ctx.weight_type) if ctx.needs_input_grad[1] else None,
            torch.zeros_like(ctx.bias) if ctx.needs_input_grad[2] else None,
            None,
            None,
        )


def _distance(student: Tensor, weight: Tensor, teacher: Tensor, spec: BandFilter) -> tuple[Tensor, Tensor, Tensor]:
    """The loss, and the gradients without the factor -2/N."""
    transform = pyramid(spec.wavelet, spec.mode, spec.level, tuple(teacher.shape[2:]))
    teacher, student = teacher.contiguous(), student.contiguous()
    centres = _sampled_means(teacher), _sampled_means(student)
    mixed, removed = _in_coefficients(transform, teacher, student, centres, weight)
    grad_student, whole = products(
        teacher,
        student,
        student,
        weight,
        mixed_type=student.dtype,
        centres=centres,
        synthesis=(transform, *transform.coarse_synthesis(mixed)),
    )
    kept = whole - removed
    W = weight.double()
    grad_weight = kept.of_teacher - W @ kept.of_student
    energy = kept.energy - (W * (kept.of_teacher + grad_weight)).sum()
    return (energy / max(1, teacher.numel())).clamp(min=0).float(), grad_student, grad_weight.float()


def _in_coefficients(
    transform: Pyramid, teacher: Tensor, student: Tensor, centres: tuple[Tensor, Tensor], weight: Tensor
) -> tuple[Coefficients, Products]:
    r"""$\Phi B$ of $W^\top F^t - W^\top W F^s$, and what to take away from the products of features."""
    of_teacher, of_student = (
        transform.analyse(features.flatten(0, 1), centre)
        for features, centre in zip((teacher, student), centres, strict=True)
    )
    formed = transform.form(of_student)
    between = None
    if transform.cross is not None:
        between = _between_bands(transform.cross, of_teacher, of_student, weight, len(teacher))
        transform.cross.add_(formed, between.of_student)
    mixed: Coefficients = {}
    parts = []
    for band, coefficients in of_teacher.items():
        of_t, of_s = (_by_sample(x, len(teacher)) for x in (coefficients, of_student[band]))
        partner = of_s if formed[band] is of_student[band] else _by_sample(formed[band], len(teacher))
        of_band, part = products(of_t, of_s, partner, weight, mixed_type=coefficients.dtype)
        mixed[band] = of_band.flatten(0, 1)
        parts.append(part)
    removed = sum(parts[1:], parts[0])
    if transform.forms:
        removed = replace(removed, energy=transform.energy(of_teacher))
    mixed = transform.form(mixed)
    if transform.cross is not None and between is not None:
        removed = replace(removed, energy=removed.energy + between.energy)
        transform.cross.add_(mixed, between.mixed)
    return mixed, removed


@dataclass(frozen=True)
class _BetweenBands:
    r"""What $\Phi$ does between bands.

    Args:
        of_student: $\Phi_{ab}$ of the student's coefficients, at their corners.
        mixed: The same of those of $W^\top F^t - W^\top W F^s$.
        energy: The part that the teacher's own energy has there.
    """

    of_student: Coefficients
    mixed: Coefficients
    energy: Tensor


def _between_bands(
    cross: Cross, of_teacher: Coefficients, of_student: Coefficients, weight: Tensor, samples: int
) -> _BetweenBands:
    of_t, of_s = cross.take(of_teacher), cross.take(of_student)
    joined = {band: torch.cat([_by_sample(x[band], samples) for x in (of_t, of_s)], dim=1) for band in of_t}
    crossed = cross(joined)
    wide = len(weight)
    mixing = torch.cat([weight.mT, -weight.mT @ weight], dim=1)
    energy = torch.stack(
        [(joined[band][:, :wide] * crossed[band][:, :wide]).sum(dtype=torch.float64) for band in crossed]
    )
    return _BetweenBands(
        {band: x[:, wide:].flatten(0, 1) for band, x in crossed.items()},
        {band: (mixing @ x.flatten(2)).view(-1, *x.shape[2:]) for band, x in crossed.items()},
        energy.sum(),
    )


def _by_sample(x: Tensor, samples: int) -> Tensor:
    return x.view(samples, -1, *x.shape[1:])


def _sampled_means(features: Tensor) -> Tensor:
    """About the mean of each channel of each sample, `(B * C,)`: any constant will do."""
    return features[:, :, ::SAMPLED, ::SAMPLED].mean((2, 3, 4), dtype=torch.float32).flatten()
