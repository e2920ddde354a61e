"""ReCo-KD: match features where classes are and where the teacher is active, and the activity itself."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from ..errors import UserError
from ..wavelets.without_autocast import without_autocast
from .base import Activations, StagewiseMethod, check_numbers_of_stages
from .parts.attended_distance import attended_distance
from .parts.reductions import widened
from .parts.softening import checked_temperature
from .parts.target import memberships
from .registry import register

EPSILON = 1e-8


@register
class ReCoKD(StagewiseMethod):
    r"""Squared distance under masks of the classes and the teacher's attention, and distance of the attentions.

    With $\hat F = \phi(F^{(s)})$, $D = \hat F - F^{(t)}$, $C$ channels, and the attentions to positions and to channels

    $$A_S(n) = N\operatorname*{softmax}_n\Big(\tfrac1{CT}\sum_c |F_{cn}|\Big),\qquad
    A_C(c) = C\operatorname*{softmax}_c\Big(\tfrac1{NT}\sum_n |F_{cn}|\Big)$$

    of the teacher, $^{(t)}$, and of $\hat F$, $^{(s)}$, a stage's loss is

    $$\ell = \sum_{r\in\{fg,\,bg\}} \frac{\sum_{b,n} M_r A_S^{(t)} \sum_c A_C^{(t)} D^2}{C\sum_{b,n} M_r}
    + \big\langle|A_S^{(s)} - A_S^{(t)}|\big\rangle + \big\langle|A_C^{(s)} - A_C^{(t)}|\big\rangle
    + \big\langle\big(R_s(\hat F) - R_t(F^{(t)})\big)^2\big\rangle$$

    where $\langle\cdot\rangle$ is the mean. In each sample $M_{fg}$ is one over the number of voxels of a voxel's
    class, so that classes count alike whatever their size, and 0 in the background; where regions overlap, the smallest
    decides. $M_{bg}$ is one over the number of voxels of the background. $R(F) = F + g(\sum_n \alpha_n F_n)$ adds to
    every position a context, with $\alpha = \operatorname{softmax}_n(w^\top F_n)$ and $g$ two linear maps with
    normalisation and ReLU between them, the second of which is zero at first.

    Stage $k$ weighs $2^{-3\alpha k}$, divided by the sum of these weights; the last stage is left out.

    Args:
        student_channels: Channels of each student stage, fine to coarse.
        teacher_channels: Channels of each teacher stage, fine to coarse.
        temperature: $T$.
        stage_alpha: $\alpha$ in the weights of the stages; 0 weighs all alike.
        drop_last_stage: Leave out the last stage, unless it is the only one.
        classes: Number of classes, the background included. Default: the highest label of each target plus one, for
            which the device has to be waited for.
        train_phi: Train φ and $R$. Without, as in the public code, φ stays the random map it is at first, and $R$ the
            identity.
        ndim: Number of dimensions of the networks.

    Shape:
        Stage `i` takes `(B, C_i, D_i, H_i, W_i)` from both networks, with equal sizes in space, and the target, which
        is brought to that size by nearest neighbour; returns a scalar. Voxels that the target leaves out are in
        neither mask.

    Raises:
        UserError: There is no target, or an option is out of range.
        StageMismatch: The networks have different numbers of stages, or a stage's two features differ in space.

    Source:
        Lan et al., ReCo-KD: Region- and context-aware knowledge distillation for efficient 3D medical image
        segmentation, 2026 (arXiv 2601.08301), as the public code of DPRD-3D-MedSeg computes it.

    Example:
        >>> import torch
        >>> student, teacher = (Activations([torch.rand(1, channels, 8, 8, 8)]) for channels in (2, 8))
        >>> ReCoKD([2], [8])(student, teacher, torch.randint(3, (1, 1, 8, 8, 8))).ndim
        0
    """

    name = "reco-kd"
    title = "ReCo-KD"
    matches = "features where classes are and the teacher is active, and its activity"
    source_weight = 0.01
    needs_target = True

    def __init__(
        self,
        student_channels: Sequence[int],
        teacher_channels: Sequence[int],
        *,
        temperature: float = 0.5,
        stage_alpha: float = 0.4,
        drop_last_stage: bool = True,
        classes: int | None = None,
        train_phi: bool = False,
        ndim: int = 3,
    ) -> None:
        if not 0 <= stage_alpha < float("inf"):
            raise UserError(f"stage_alpha must be a number of at least 0, not {stage_alpha}.", option="option")
        check_numbers_of_stages(student_channels, teacher_channels)
        used = max(1, len(student_channels) - drop_last_stage)
        super().__init__(student_channels[:used], teacher_channels[:used], ndim=ndim)
        for stage, (s, t) in enumerate(zip(student_channels[:used], teacher_channels[:used], strict=True)):
            if s == t:
                self.phi[stage] = nn.Identity()
        self.phi.requires_grad_(train_phi)
        self.contexts = nn.ModuleList(ContextPair(c) for c in teacher_channels[:used] if train_phi)
        self.temperature = checked_temperature(temperature)
        self.classes = classes
        decays = [2 ** (-3 * stage_alpha * k) for k in range(used)]
        self.stage_weights = [decay / sum(decays) for decay in decays]

    def forward(self, student: Activations, teacher: Activations, target: Tensor | None = None) -> Tensor:
        if target is None:
            raise UserError("reco-kd weighs voxels by their class and needs the target: call distiller(x, target).")
        check_numbers_of_stages(student.encoder, teacher.encoder)
        pairs = list(zip(student.encoder, teacher.encoder, strict=True))[: len(self.phi)]
        self._check(*zip(*pairs, strict=True))
        return sum(  # type: ignore[return-value]
            weight * self._compare(stage, s, t, target)
            for stage, (weight, (s, t)) in enumerate(zip(self.stage_weights, pairs, strict=True))
        )

    def _compare(self, stage: int, student: Tensor, teacher: Tensor, target: Tensor) -> Tensor:
        # A gradient of a mean over millions of voxels is too small for half precision, which therefore ends before φ.
        with without_autocast(student.device):
            projected = self.phi[stage](widened(student))
            shares = _shares(target, projected, self.classes)
            loss: Tensor = attended_distance(projected, teacher, shares, self.temperature)
            if self.contexts:
                loss = loss + self.contexts[stage](projected, widened(teacher))
        return loss


class ContextPair(nn.Module):
    r"""What the modules $R_s$ and $R_t$ add to the mean squared difference $\langle D^2\rangle$.

    $$\langle(D + \delta)^2\rangle - \langle D^2\rangle = \langle\delta(2\bar D + \delta)\rangle$$

    because the difference of the two contexts, $\delta$, is the same at every position; $\bar D$ is the mean of $D$
    over positions.

    Args:
        channels: Of both features.

    Shape:
        `(B, C, *positions)` twice → scalar.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.student, self.teacher = Context(channels), Context(channels)

    def forward(self, student: Tensor, teacher: Tensor) -> Tensor:
        student, teacher = student.flatten(2), teacher.flatten(2)
        delta = self.student(student) - self.teacher(teacher)
        added: Tensor = (delta * (2 * (student.mean(2) - teacher.mean(2)) + delta)).mean()
        return added


class Context(nn.Module):
    """The vector that $R$ adds to every position of a sample.

    Args:
        channels: Of the features.

    Shape:
        `(B, C, N)` → `(B, C)`.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        inner = max(1, channels // 2)
        self.where = nn.Linear(channels, 1, bias=False)  # a bias would cancel in the softmax
        self.what = nn.Sequential(
            nn.Linear(channels, inner), nn.LayerNorm(inner), nn.ReLU(), last := nn.Linear(inner, channels)
        )
        nn.init.kaiming_normal_(self.where.weight)
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)

    def forward(self, features: Tensor) -> Tensor:
        attention = (self.where.weight @ features).softmax(2)
        context: Tensor = self.what((attention @ features.mT).squeeze(1))
        return context


def _shares(target: Tensor, features: Tensor, number: int | None) -> Tensor:
    r"""$\sum_r M_r / \sum_{b,n} M_r$: what a position contributes to the means over foreground and background.

    Shape:
        `(B, 1, …)` or `(B, R, …)`, and `(B, C, *space)` → `(B, *space)`.
    """
    if target.shape[2:] != features.shape[2:]:
        target = interpolate(target.float(), features.shape[2:], mode="nearest-exact")
    belongs = memberships(target, features.dtype, classes=number)
    belongs = belongs / belongs.sum(tuple(range(2, belongs.dim())), keepdim=True).clamp_min(1)
    background, classes = belongs[:, 0], belongs[:, 1:]
    foreground = classes.amax(1) if classes.shape[1] else torch.zeros_like(background)
    return sum(mask / mask.sum().clamp_min(EPSILON) for mask in (foreground, background))  # type: ignore[return-value]
