"""How far a student is from its teacher in the high and in the low bands (the paper, Eq. 1), and the best φ for it."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from ..errors import StageMismatch
from ..methods.parts.phi import Phi, new_phi
from ..wavelets import SubbandProjection
from .spectrum import measurable_levels


class Mismatch(NamedTuple):
    """Relative mismatch of one stage: 0 if both are equal, 1 for a student of zeros, NaN if a band is empty."""

    high: float
    """In all detail bands."""
    low: float
    """In LLL, of images in LL."""


class MismatchNorms(NamedTuple):
    r"""The two sides of Eq. 1 at one stage, and the teacher's own norms; NaN if a stage has no high bands."""

    high: float
    r"""$\lVert \mathcal P_{high}(F^{(t)}) - \mathcal P_{high}(\phi(F^{(s)}))\rVert_2$, over all detail bands."""
    low: float
    """The same in LLL."""
    teacher_high: float
    r"""$\lVert \mathcal P_{high}(F^{(t)})\rVert_2$."""
    teacher_low: float
    """The same in LLL."""

    @property
    def relative(self) -> Mismatch:
        """The squared norms relative to the teacher's."""
        return Mismatch(_ratio(self.high, self.teacher_high), _ratio(self.low, self.teacher_low))


def mismatch_norms(
    teacher: Tensor,
    student: Tensor,
    phi: nn.Module,
    *,
    wavelet: str = "db4",
    level: int = 3,
    mode: str = "symmetric",
) -> MismatchNorms:
    r"""Measure both sides of Eq. 1: the norm of what one stage of the student misses, in the high and in the low bands.

    $$\lVert \mathcal P_{high}(F^{(t)}) - \mathcal P_{high}(\phi(F^{(s)}))\rVert_2 >
    \lVert \mathcal P_{low}(F^{(t)}) - \mathcal P_{low}(\phi(F^{(s)}))\rVert_2$$

    Whether the norms are squared makes no difference to which side is larger.

    Args:
        teacher: $F^{(t)}$.
        student: $F^{(s)}$.
        phi: φ, from student to teacher channels.
        wavelet: Any discrete wavelet of PyWavelets.
        level: Number of levels; fewer if the stage is small (see `measurable_levels`).
        mode: Boundary mode.

    Shape:
        `(B, C_t, D, H, W)` and `(B, C_s, D, H, W)`, or both without D.

    Raises:
        StageMismatch: The features differ in space.

    Example:
        >>> import torch
        >>> teacher = torch.ones(1, 1, 16, 16, 16)
        >>> norms = mismatch_norms(teacher, 0 * teacher, nn.Identity())
        >>> round(norms.low), norms.high < 1e-3
        (64, True)

    Source:
        Fan et al., Detail Consistent Stage-Wise Distillation for Efficient 3D MRI Segmentation, MICCAI 2026, Eq. 1.
    """
    _check(student, teacher)
    depth = measurable_levels(teacher.shape[2:], level, mode)
    difference = teacher - phi(student)
    if depth == 0:
        nothing = float("nan")
        return MismatchNorms(nothing, _norm(difference), nothing, _norm(teacher))
    parts = []
    for bands in ("D+S", "A"):
        project = SubbandProjection(bands, wavelet=wavelet, level=depth, mode=mode, ndim=teacher.dim() - 2)
        parts.append((_norm(project(difference)), _norm(project(teacher))))
    (high, teacher_high), (low, teacher_low) = parts
    return MismatchNorms(high, low, teacher_high, teacher_low)


def mismatch(
    teacher: Tensor,
    student: Tensor,
    phi: nn.Module,
    *,
    wavelet: str = "db4",
    level: int = 3,
    mode: str = "symmetric",
) -> Mismatch:
    r"""Compare one stage of teacher and student in the high and in the low bands, each relative to the teacher's own.

    $$\frac{\lVert \mathcal P_b(F^{(t)}) - \mathcal P_b(\phi(F^{(s)}))\rVert_2^2}
    {\lVert \mathcal P_b(F^{(t)})\rVert_2^2}, \qquad b \in \{\text{high}, \text{low}\}$$

    Eq. 1 of the paper is about the norms themselves (`mismatch_norms`). The low band has most of a feature's energy, so
    a student can miss more of it and still miss the smaller share.

    Args:
        teacher: $F^{(t)}$.
        student: $F^{(s)}$.
        phi: φ, from student to teacher channels.
        wavelet: Any discrete wavelet of PyWavelets.
        level: Number of levels; fewer if the stage is small (see `measurable_levels`).
        mode: Boundary mode.

    Shape:
        `(B, C_t, D, H, W)` and `(B, C_s, D, H, W)`, or both without D.

    Raises:
        StageMismatch: The features differ in space.
    """
    return mismatch_norms(teacher, student, phi, wavelet=wavelet, level=level, mode=mode).relative


class LeastSquaresPhi:
    r"""The convolution with bias and a kernel of one voxel that brings student features closest to the teacher's.

    $$\min_{W, b} \sum \lVert F^{(t)} - W F^{(s)} - b\rVert_2^2$$

    Features are added case by case. They are not kept; only the normal equations are, in double precision. Student
    channels that depend on one another get the smallest weights that solve them.

    Args:
        student_channels: Channels of the student's stage.
        teacher_channels: Channels of the teacher's stage.
        ndim: Number of dimensions of the networks.
    """

    def __init__(self, student_channels: int, teacher_channels: int, *, ndim: int = 3) -> None:
        self._ndim = ndim
        self._gram = torch.zeros(student_channels + 1, student_channels + 1, dtype=torch.float64)
        self._moments = torch.zeros(student_channels + 1, teacher_channels, dtype=torch.float64)

    def add(self, student: Tensor, teacher: Tensor) -> None:
        """Add the features of some cases: `(B, C_s, *space)` and `(B, C_t, *space)`.

        Raises:
            StageMismatch: The features differ in space.
        """
        _check(student, teacher)
        for s, t in zip(student, teacher, strict=True):
            inputs = torch.cat([s.flatten(1), torch.ones_like(s[:1]).flatten(1)]).double()
            self._gram += (inputs @ inputs.mT).cpu()
            self._moments += (inputs @ t.flatten(1).double().mT).cpu()

    def solve(self) -> Phi:
        """The best φ for the features that were added, in double precision."""
        scale = (
            self._gram.diagonal().clamp_min(1e-300).rsqrt()
        )  # without it, channels of unequal size would cost digits
        scaled = self._gram * scale * scale[:, None]
        solution = scale[:, None] * (
            torch.linalg.pinv(scaled, hermitian=True, rtol=1e-12) @ (scale[:, None] * self._moments)
        )
        inputs, outputs = solution.shape
        phi = new_phi(inputs - 1, outputs, ndim=self._ndim).double().requires_grad_(False)
        phi.weight.copy_(solution[:-1].mT.reshape(phi.weight.shape))
        assert phi.bias is not None
        phi.bias.copy_(solution[-1])
        return phi


def _check(student: Tensor, teacher: Tensor) -> None:
    if student.shape[0] != teacher.shape[0] or student.shape[2:] != teacher.shape[2:]:
        raise StageMismatch(
            f"features of unequal size: student {tuple(student.shape)}, teacher {tuple(teacher.shape)}; both networks "
            "need the same strides."
        )


def _norm(x: Tensor) -> float:
    return float(torch.linalg.vector_norm(x, dtype=torch.float64))


def _ratio(norm: float, whole: float) -> float:
    return (norm / whole) ** 2 if whole else float("nan")
