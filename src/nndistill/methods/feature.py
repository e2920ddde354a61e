"""Feature distillation: match every encoder stage in full (FitNets)."""

from __future__ import annotations

from torch import Tensor
from torch.nn.functional import mse_loss

from .base import StagewiseMethod
from .registry import register


@register
class Feature(StagewiseMethod):
    r"""Mean squared error between teacher features and projected student features.

    $$\mathcal L = \sum_i \frac1{N_i}\lVert F_i^{(t)} - \phi_i(F_i^{(s)})\rVert_2^2$$

    Args:
        student_channels: Channels of each student stage, fine to coarse.
        teacher_channels: Channels of each teacher stage, fine to coarse.
        train_phi: Whether φ is trained with the student, or stays the random map that it starts as.
        ndim: Number of dimensions of the networks.

    Shape:
        Stage `i` takes `(B, C_i, D_i, H_i, W_i)` from both networks, with equal sizes in space; returns a scalar.

    Raises:
        StageMismatch: A stage's two features differ in space.

    Source:
        Romero et al., FitNets: Hints for thin deep nets, ICLR 2015, Eq. 3, at every stage, with a 1×1×1 regressor.

    Example:
        >>> import torch
        >>> from nndistill.methods import Activations
        >>> student, teacher = Activations([torch.rand(1, 8, 4, 4, 4)]), Activations([torch.rand(1, 32, 4, 4, 4)])
        >>> Feature([8], [32])(student, teacher).ndim
        0
    """

    name = "feature"
    title = "Feature (FitNets)"
    matches = "everything"
    source_weight = 0.05  # none in its source; the paper compares at this

    def stage_loss(self, student: Tensor, teacher: Tensor) -> Tensor:
        return mse_loss(student, teacher)
