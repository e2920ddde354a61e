"""Logit distillation: match the softened prediction at every voxel (Hinton)."""

from __future__ import annotations

from torch import Tensor
from torch.nn.functional import softplus

from .base import Activations, Method
from .parts.softening import checked_temperature, soft_logits
from .parts.target import counted
from .registry import register


@register
class Logits(Method):
    r"""Divergence of the student's softened class distribution from the teacher's, mean over voxels.

    $$\mathcal L = T^2\,\frac1N\sum_n \mathrm{KL}\big(p^{(t)}_n \,\Vert\, p^{(s)}_n\big),\qquad
    p_n = \mathrm{softmax}(z_n / T)$$

    $T^2$ keeps the gradients' size while $T$ changes. If the heads predict regions, which may overlap, $p$ is one
    sigmoid per region, and the divergences of these yes-or-no distributions are added up.

    Args:
        temperature: $T$. The source found 2.5 to 4 best for a student far smaller than its teacher.
        regions: The networks predict regions; a run of nnU-Net sets this itself.
        ignores: Whether targets may leave voxels out. Default: each is looked through, for which the device has to be
            waited for.

    Shape:
        Logits `(B, classes, D, H, W)` of both networks; returns a scalar. Voxels that a target leaves out are not
        averaged over.

    Raises:
        UserError: The temperature is not above zero.
        StageMismatch: The logits differ in shape.

    Source:
        Hinton, Vinyals & Dean, Distilling the knowledge in a neural network, 2015, section 2, at every voxel.

    Example:
        >>> import torch
        >>> student, teacher = (Activations([], logits=torch.rand(1, 2, 8, 8, 8)) for _ in range(2))
        >>> Logits(temperature=2)(student, teacher).ndim
        0
    """

    name = "logits"
    title = "Logits"
    matches = "the softened prediction"
    needs = frozenset({"logits"})

    def __init__(self, *, temperature: float = 4.0, regions: bool = False, ignores: bool | None = None) -> None:
        super().__init__()
        self.temperature = checked_temperature(temperature)
        self.regions = regions
        self.ignores = ignores

    def forward(self, student: Activations, teacher: Activations, target: Tensor | None = None) -> Tensor:
        s, t = soft_logits(student, teacher, self.temperature)
        divergence = _divergence_of_regions(s, t) if self.regions else _divergence_of_classes(s, t)
        voxels = counted(target, ignores=self.ignores)
        if voxels is None:
            return self.temperature**2 * divergence.mean()
        return self.temperature**2 * (divergence * voxels).sum() / voxels.sum().clamp_min(1)


# Both are written as the gap between the log-partition function and its tangent at the teacher's logits: exactly zero
# where the logits are equal, and with no logarithm of a small probability.


def _divergence_of_classes(s: Tensor, t: Tensor) -> Tensor:
    return s.logsumexp(1) - t.logsumexp(1) - (t.softmax(1) * (s - t)).sum(1)


def _divergence_of_regions(s: Tensor, t: Tensor) -> Tensor:
    return (softplus(s) - softplus(t) - t.sigmoid() * (s - t)).sum(1)
