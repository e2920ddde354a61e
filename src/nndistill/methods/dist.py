"""DIST: match how predictions relate, between classes and between voxels, instead of the predictions themselves."""

from __future__ import annotations

from torch import Tensor
from torch.nn.functional import cosine_similarity

from .base import Activations, Method
from .parts.softening import checked_temperature, soft_logits
from .parts.target import counted
from .registry import register


@register
class DIST(Method):
    r"""One minus the correlation of the softened predictions, along classes and along voxels.

    With $Y_{kn}$ the softened probability of class $k$ at voxel $n$ of the batch and $\rho$ Pearson's correlation,

    $$\mathcal L = T^2\Big[\beta\Big(1 - \frac1N\sum_n \rho\big(Y^{(s)}_{\cdot n}, Y^{(t)}_{\cdot n}\big)\Big)
    + \gamma\Big(1 - \frac1K\sum_k \rho\big(Y^{(s)}_{k\cdot}, Y^{(t)}_{k\cdot}\big)\Big)\Big]$$

    The first term asks for the same ranking of classes at a voxel, the second for the same ranking of voxels in a
    class. A correlation forgives scale and offset, which a small student cannot match anyway.

    Args:
        inter: $\beta$, weight of the relation between classes.
        intra: $\gamma$, weight of the relation between voxels.
        temperature: $T$; 1 in the source's segmentations.
        regions: The networks predict regions, each softened by a sigmoid; a run of nnU-Net sets this itself.
        ignores: Whether targets may leave voxels out. Default: each is looked through, for which the device has to be
            waited for.

    Shape:
        Logits `(B, classes, D, H, W)` of both networks; returns a scalar. Voxels that a target leaves out are in
        neither term.

    Raises:
        UserError: The temperature is not above zero.
        StageMismatch: The logits differ in shape.

    Source:
        Huang et al., Knowledge distillation from a stronger teacher, NeurIPS 2022, with the weights and the
        temperature of its published code for segmentation.

    Example:
        >>> import torch
        >>> student, teacher = (Activations([], logits=torch.rand(1, 3, 8, 8, 8)) for _ in range(2))
        >>> DIST()(student, teacher).ndim
        0
    """

    name = "dist"
    title = "DIST"
    matches = "how predictions relate"
    source_weight = 1.0
    needs = frozenset({"logits"})

    def __init__(
        self,
        *,
        inter: float = 1.0,
        intra: float = 1.0,
        temperature: float = 1.0,
        regions: bool = False,
        ignores: bool | None = None,
    ) -> None:
        super().__init__()
        self.inter, self.intra = inter, intra
        self.temperature = checked_temperature(temperature)
        self.regions = regions
        self.ignores = ignores

    def forward(self, student: Activations, teacher: Activations, target: Tensor | None = None) -> Tensor:
        s, t = (
            (z.sigmoid() if self.regions else z.softmax(1)).transpose(0, 1).flatten(1)  # (K, N)
            for z in soft_logits(student, teacher, self.temperature)
        )
        voxels = counted(target, ignores=self.ignores)
        shares = None if voxels is None else voxels.flatten().to(s.dtype) / voxels.sum().clamp_min(1)
        return self.temperature**2 * (
            self.inter * _unlike_at_voxels(s, t, shares) + self.intra * _unlike_in_classes(s, t, shares)
        )


def _unlike_at_voxels(s: Tensor, t: Tensor, shares: Tensor | None) -> Tensor:
    """`shares` is what each voxel contributes to a mean, `(N,)`: zero, where it is left out."""
    unlike = 1 - cosine_similarity(s - s.mean(0), t - t.mean(0), dim=0)
    return unlike.mean() if shares is None else (unlike * shares).sum()


def _unlike_in_classes(s: Tensor, t: Tensor, shares: Tensor | None) -> Tensor:
    return 1 - cosine_similarity(_centred(s, shares), _centred(t, shares), dim=1).mean()


def _centred(rows: Tensor, shares: Tensor | None) -> Tensor:
    """Subtract each row's mean; a voxel that is left out has the value zero."""
    if shares is None:
        return rows - rows.mean(1, keepdim=True)
    return (rows - (rows * shares).sum(1, keepdim=True)) * (shares > 0)
