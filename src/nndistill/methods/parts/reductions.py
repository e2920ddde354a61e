"""Reductions over channels that keep no copy of the features: a loss that is a sum, and the energy at a position."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from ...wavelets.chunking import chunked
from ...wavelets.without_autocast import without_autocast

CHUNK_ELEMENTS = 1 << 19
"""Values per chunk on a CPU: autograd keeps several copies of them."""


def widened(x: Tensor) -> Tensor:
    """Return half precision as single precision, and anything else as it is."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


@torch.compiler.disable  # type: ignore[untyped-decorator]
def sum_over_channels(x: Tensor, loss: Callable[[Tensor], Tensor]) -> Tensor:
    """Return `loss(x)`.

    Both passes compute in the precision of `x`, also under autocast.

    Args:
        x: What is compared.
        loss: A sum over the channels, so that `loss(x)` is `loss(x[:, :n]) + loss(x[:, n:])`; it has no parameters.

    Shape:
        `(B, C, D, H, W)` → scalar.
    """
    total: Tensor = _SumOverChannels.apply(x.as_subclass(Tensor), loss)  # type: ignore[no-untyped-call]
    return total


class _SumOverChannels(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, loss: Callable[[Tensor], Tensor]) -> Tensor:
        wanted = ctx.needs_input_grad[0]
        gradient = torch.empty_like(x) if wanted else None
        total = widened(x.new_zeros(()))
        for channels in chunked(x.shape[1], x[:, :1].numel(), x.device, in_cache=CHUNK_ELEMENTS):
            part = x[:, channels].detach().requires_grad_(wanted)
            with without_autocast(x.device):  # which would compute this backward pass too, and its transforms
                with torch.set_grad_enabled(wanted):
                    value = loss(part)
                if gradient is not None:
                    (gradient[:, channels],) = torch.autograd.grad(value, part)
            total += value.detach()
        if gradient is not None:
            ctx.save_for_backward(gradient)
        return total

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        (saved,) = ctx.saved_tensors
        return saved * gradient, None


def channel_energy(features: Tensor) -> Tensor:
    r"""Return $\sum_c F_c^2$, in single precision at least.

    `features.square().sum(1)` stores all squares first, which takes as much memory as the features.

    Shape:
        `(B, C, *positions)` → `(B, *positions)`.
    """
    energy: Tensor = _ChannelEnergy.apply(features)  # type: ignore[no-untyped-call]
    return energy


class _ChannelEnergy(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, features: Tensor) -> Tensor:
        ctx.save_for_backward(features)
        by_position = features.flatten(2)
        batch, channels, positions = by_position.shape
        energy = features.new_empty((batch, positions), dtype=torch.promote_types(features.dtype, torch.float32))
        for n in chunked(positions, batch * channels, features.device, in_cache=CHUNK_ELEMENTS):
            torch.sum(widened(by_position[..., n]).square(), dim=1, out=energy[:, n])
        return energy.view(batch, *features.shape[2:])

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        (features,) = ctx.saved_tensors
        return torch.mul(features, 2 * gradient.unsqueeze(1), out=torch.empty_like(features))
