"""The energy at every position: squares summed over channels, with no copy of the features."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from .softening import widened


def channel_energy(features: Tensor) -> Tensor:
    r"""Return $\sum_c F_c^2$, in single precision at least.

    `features.square().sum(1)` writes all squares down first, which takes as much memory as the features and, on a CPU,
    several times as long.

    Shape:
        `(B, C, *positions)` → `(B, *positions)`.
    """
    energy: Tensor = _ChannelEnergy.apply(features)  # type: ignore[no-untyped-call]
    return energy


class _ChannelEnergy(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, features: Tensor) -> Tensor:
        ctx.save_for_backward(features)
        energy = widened(features[:, 0]).square()
        for channel in features.unbind(1)[1:]:
            energy.addcmul_(widened(channel), widened(channel))
        return energy

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        (features,) = ctx.saved_tensors
        return torch.mul(features, 2 * gradient.unsqueeze(1), out=torch.empty_like(features))
