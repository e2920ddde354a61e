"""Parameters and floating-point operations of a network."""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

PAPER_FACTOR = (12.3, 12.5)
"""By how much the FLOPs in the paper's Table 3 exceed ours, for its teachers and for its students.

It does not say what it counts. As the factor is nearly the same for all four networks, ratios of teacher and student
can be compared with the paper's, and single numbers cannot.
"""


@dataclass(frozen=True)
class Complexity:
    """What a network costs.

    Args:
        parameters: Number of trainable parameters.
        flops: Floating-point operations of one forward pass: convolutions, transposed convolutions and matrix
            products, with a multiply-add counted as two; normalisation, activations and sums are left out.
    """

    parameters: int
    flops: int


def network_complexity(network: nn.Module, input_shape: Sequence[int]) -> Complexity:
    """Count the parameters of a network, and the operations of one forward pass.

    Nothing is computed: the pass runs on PyTorch's `meta` device, so a patch of any size takes milliseconds.

    Args:
        network: Any network; it is not changed.
        input_shape: `(B, C, D, H, W)`.

    Example:
        >>> network_complexity(nn.Conv3d(2, 4, kernel_size=1, bias=False), (1, 2, 8, 8, 8))
        Complexity(parameters=8, flops=8192)
    """
    on_meta = deepcopy(network).to("meta").eval()
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        on_meta(torch.empty(tuple(input_shape), device="meta"))
    return Complexity(
        parameters=sum(p.numel() for p in network.parameters() if p.requires_grad),
        flops=counter.get_total_flops(),
    )
