"""A loss that is a sum over channels, worked out a few channels at a time together with its gradient.

Autograd would keep every intermediate of every channel until the backward pass; here only the gradient is kept.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from ..wavelets.band_filter import chunks

CHUNK_ELEMENTS = 1 << 19
"""Samples at a time: autograd keeps several copies of them."""


@torch.compiler.disable  # type: ignore[untyped-decorator]
def sum_over_channels(x: Tensor, loss: Callable[[Tensor], Tensor]) -> Tensor:
    """Return `loss(x)`.

    Args:
        x: What is compared.
        loss: A sum over the channels, so that `loss(x)` is `loss(x[:, :n]) + loss(x[:, n:])`; trains nothing itself.

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
        total = x.new_zeros(())
        for channels in chunks(x.transpose(0, 1), CHUNK_ELEMENTS):
            with torch.set_grad_enabled(wanted):
                part = x[:, channels].detach().requires_grad_(wanted)
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
