"""Intra-class feature variation: match how far every voxel is from the centre of its class (IFVD)."""

from __future__ import annotations

from torch import Tensor
from torch.nn.functional import interpolate, normalize

from ..errors import StageMismatch, UserError
from ..wavelets.without_autocast import without_autocast
from .base import Activations, Method, check_sizes
from .parts.reductions import channel_energy, widened
from .parts.target import memberships
from .registry import register

EPSILON = 1e-8


@register
class IFVD(Method):
    r"""Squared difference between the two networks' maps of similarity to a class's prototype.

    The prototype of class $k$ in a sample is the mean feature over its voxels, and the map holds the cosine of every
    voxel's feature and the prototype of its class:

    $$P_k = \frac1{|\Omega_k|}\sum_{n\in\Omega_k} F_n,\qquad M_n = \cos\big(F_n, P_{k(n)}\big),\qquad
    \mathcal L = \frac1N\sum_n \big(M_n^{(t)} - M_n^{(s)}\big)^2$$

    The features are those of the last decoder stage, right before the classifier. A map has no channels, so the
    networks' numbers of channels need not agree and there is no projection. Regions may overlap: each has its
    prototype, all voxels outside of them share one, and the mean is over all pairs of a voxel and a region that
    contains it.

    Args:
        classes: Number of classes, the background included. Default: the highest label of each target plus one, for
            which the device has to be waited for.

    Shape:
        The finest decoder stage `(B, C, D, H, W)` of both networks, with equal sizes in space, and the target, which is
        brought to that size by nearest neighbour; returns a scalar. Voxels that the target leaves out are in no
        prototype and in no mean.

    Raises:
        UserError: There is no target.
        StageMismatch: There is no decoder stage, or the two differ in space.

    Source:
        Wang et al., Intra-class feature variation distillation for semantic segmentation, ECCV 2020.

    Example:
        >>> import torch
        >>> student, teacher = (Activations([], [torch.rand(1, channels, 8, 8, 8)]) for channels in (2, 8))
        >>> IFVD()(student, teacher, torch.randint(3, (1, 1, 8, 8, 8))).ndim
        0
    """

    name = "ifvd"
    title = "IFVD"
    matches = "how far voxels are from the centre of their class"
    source_weight = 200.0
    needs = frozenset({"decoder"})
    needs_target = True

    def __init__(self, *, classes: int | None = None) -> None:
        super().__init__()
        self.classes = classes

    def forward(self, student: Activations, teacher: Activations, target: Tensor | None = None) -> Tensor:
        if target is None:
            raise UserError("ifvd compares class by class and needs the target: call distiller(x, target).")
        if not student.decoder or not teacher.decoder:
            raise StageMismatch("ifvd reads the last decoder stage, and the taps name no decoder stage.")
        check_sizes(student.decoder[:1], teacher.decoder[:1])
        s, t = student.decoder[0], teacher.decoder[0]
        if target.shape[2:] != s.shape[2:]:
            target = interpolate(target.float(), s.shape[2:], mode="nearest")
        with without_autocast(s.device):  # sums over a class's voxels overflow half precision
            s, t = widened(s).flatten(2), widened(t).flatten(2)
            belongs = memberships(target, s.dtype, classes=self.classes).flatten(2)
            difference = _similarities(s, belongs) - _similarities(t, belongs.to(t.dtype))
            return (difference.square() * belongs).sum() / belongs.sum().clamp_min(1)


def _similarities(features: Tensor, belongs: Tensor) -> Tensor:
    """Cosine of every voxel's feature with every class's prototype: `(B, C, N)`, `(B, K, N)` → `(B, K, N)`."""
    prototypes = belongs @ features.mT  # sums instead of means: a cosine does not see the length
    lengths = channel_energy(features).clamp_min(EPSILON**2).sqrt().unsqueeze(1)
    similarities: Tensor = normalize(prototypes, dim=2, eps=EPSILON) @ features / lengths
    return similarities
