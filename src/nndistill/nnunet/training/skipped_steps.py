"""Steps of a training that are skipped, since the loss or a gradient is not a finite number, and how many are too many.

Stock nnU-Net looks at neither; on CUDA its gradient scaler passes over gradients that are not finite. Here such a step
is passed over on every device, in all processes together, so that the weights stay the last good ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, distributed

MOST_IN_A_ROW = 20
"""A gradient scaler starts at 2¹⁶ and halves with every overflow: after so many it would be below 1, and no remedy."""

MOST_IN_ALL = 200
"""Over a whole run. What a gradient scaler passes over while the loss is finite is its way of working: not counted."""


class Finite(NamedTuple):
    """Whether what a step is made from was finite in every process."""

    loss: bool
    gradient: bool


def finite_everywhere(loss: Tensor, gradient_norms: Sequence[Tensor]) -> Finite:
    """Tell whether the loss and the gradients are finite: in all processes of a data-parallel training, if it is one.

    Args:
        loss: A scalar.
        gradient_norms: Scalars; not finite if an element of a gradient is not.

    Example:
        >>> finite_everywhere(torch.tensor(0.5), [torch.tensor(1.0), torch.tensor(float("inf"))])
        Finite(loss=True, gradient=False)
    """
    norms = torch.stack([norm.to(loss.device, torch.float32) for norm in gradient_norms])
    finite = torch.stack([loss.detach().isfinite(), norms.isfinite().all()]).float()
    if distributed.is_available() and distributed.is_initialized():
        distributed.all_reduce(finite, op=distributed.ReduceOp.MIN)
    return Finite(*(flag > 0 for flag in finite.tolist()))


class SkippedSteps:
    """How many steps a run has skipped, and whether it should end.

    Args:
        iterations: Steps per epoch: an epoch of nothing but losses that are not finite ends a run, however short it is.

    Example:
        >>> steps = SkippedSteps(iterations=250)
        >>> steps.count(Finite(loss=False, gradient=False), scaled=False)
        >>> steps.in_a_row, steps.in_epoch, steps.too_many
        (1, 1, False)
        >>> steps.count(Finite(loss=True, gradient=True), scaled=False)
        >>> steps.in_a_row, steps.in_all
        (0, 1)
    """

    def __init__(self, *, iterations: int) -> None:
        self.in_a_row = 0
        self.in_epoch = 0
        self.in_all = 0
        """Without overflows that a gradient scaler passed over."""
        self.too_many = False
        self._iterations = iterations

    def start_epoch(self) -> None:
        """Begin to count the steps of an epoch."""
        self.in_epoch = 0

    def count(self, finite: Finite, *, scaled: bool) -> None:
        """Count a step that was taken if both were finite, and skipped otherwise.

        Args:
            finite: Of this step.
            scaled: Whether a gradient scaler looks for overflows.
        """
        if all(finite):
            self.in_a_row = 0
            return
        overflow = finite.loss and scaled
        self.in_a_row += 1
        self.in_epoch += 1
        self.in_all += not overflow
        most_in_a_row = MOST_IN_A_ROW if overflow else min(MOST_IN_A_ROW, self._iterations)
        self.too_many = self.in_a_row >= most_in_a_row or self.in_all >= MOST_IN_ALL
