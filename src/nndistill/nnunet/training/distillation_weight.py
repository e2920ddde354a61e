"""The weight μ while a student is trained, and the share of the gradient that it gives to the distillation.

Measuring changes nothing: neither the gradients that are being collected, nor the random numbers, nor the optimiser.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import exp, isfinite, log, sqrt
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, distributed
from torch._functorch import config as functorch_config
from torch.nn import Parameter

from ...recipes import Weighting

MEASURED_EVERY = 50
"""Batches from one measurement to the next if μ is fixed, counted anew in every epoch; fewer in a short epoch."""

TOO_LARGE, TOO_SMALL = 1.0, 0.01
"""Shares at which a run says that its weight may be wrong."""


class EpochGradients(NamedTuple):
    """Means over an epoch, all zero if the distillation did not count in it."""

    segmentation_gradients: float = 0.0
    """Norm of the segmentation loss's gradient for the student's parameters."""
    distillation_gradients: float = 0.0
    """The same of the distillation loss, times μ."""
    gradient_shares: float = 0.0
    """The second divided by the first."""
    distillation_weights: float = 0.0
    """μ, after its schedule."""


class DistillationWeight:
    """μ of a run, fixed or balanced, and what was measured in the present epoch.

    Args:
        weighting: As in the run's setup.
        iterations: Batches per epoch; under a fixed μ there are at least two measurements in them.
        say: Called with a sentence if the weight cannot be balanced.

    Example:
        >>> from nndistill.recipes import Balance
        >>> balanced = Weighting(weight=1, balance=Balance(share=0.5), origin="given")
        >>> weight = DistillationWeight(balanced, iterations=250, say=print)
        >>> weight.is_due()
        True
        >>> weight.take(2.0, 8.0)  # gradients of the segmentation and of the distillation
        >>> weight.use(1.0)
        0.125
        >>> weight.epoch().gradient_shares
        0.5
    """

    def __init__(self, weighting: Weighting, *, iterations: int, say: Callable[[str], None]) -> None:
        self._weighting = weighting
        self._every = weighting.balance.every if weighting.balance else min(MEASURED_EVERY, (iterations + 1) // 2)
        self._say = say
        self._log_ratio: float | None = None
        self._said_zero = False
        self.start_epoch()

    def start_epoch(self) -> None:
        """Forget what was measured, and begin to count batches anew."""
        self._norms: tuple[float, float] | None = None
        self._waiting = True
        self._weights: list[float] = []
        self._measured: list[tuple[float, float]] = []

    def is_due(self) -> bool:
        """Whether the gradients of this batch are to be measured."""
        return self._waiting or len(self._weights) % self._every == 0

    def take(self, segmentation: float, distillation: float) -> None:
        """Take the norms of this batch's gradients, both without μ. Numbers that are not finite are passed over.

        Then the next batch is due, as after an overflow in half precision, which is no reason to wait.
        """
        if not isfinite(segmentation) or not isfinite(distillation) or segmentation == 0:
            return
        self._waiting = False
        self._norms = segmentation, distillation
        balance = self._weighting.balance
        if balance is None:
            return
        if distillation > 0:
            new = log(distillation / segmentation)
            old = new if self._log_ratio is None else self._log_ratio
            self._log_ratio = balance.smoothing * old + (1 - balance.smoothing) * new
        elif not self._said_zero:
            self._said_zero = True
            self._say(
                "the gradient of the distillation on the student is zero, so no weight can balance it; "
                f"μ falls back to {self._full:g}."
            )

    def use(self, factor: float) -> float:
        """Return μ for this batch, and count the batch.

        Args:
            factor: What the schedule lets through, in [0, 1].
        """
        weight = factor * self._full
        self._weights.append(weight)
        if self._norms is not None:
            segmentation, distillation = self._norms
            self._measured.append((segmentation, weight * distillation))
            self._norms = None
        return weight

    @property
    def _full(self) -> float:
        """μ before its schedule."""
        balance = self._weighting.balance
        if balance is None or self._log_ratio is None:
            return self._weighting.weight
        return balance.share * exp(-self._log_ratio)

    def epoch(self) -> EpochGradients:
        """Means over the epoch so far."""
        if not self._weights:
            return EpochGradients()
        segmentation, distillation = np.mean(self._measured, axis=0) if self._measured else (0.0, 0.0)
        shares = self._shares() or [0.0]
        return EpochGradients(
            float(segmentation), float(distillation), float(np.mean(shares)), float(np.mean(self._weights))
        )

    def drowns_the_task(self) -> bool:
        """Whether the distillation's gradient was the larger one whenever it was measured in this epoch."""
        return bool(self._measured) and min(self._shares()) > TOO_LARGE

    def _shares(self) -> list[float]:
        return [distillation / segmentation for segmentation, distillation in self._measured]

    def state(self) -> dict[str, Any]:
        """What a resumed run needs; empty if μ is fixed."""
        return {} if self._weighting.balance is None else {"log_ratio": self._log_ratio, "said_zero": self._said_zero}

    def load_state(self, state: dict[str, Any]) -> None:
        """Continue from what `state` returned."""
        self._log_ratio = state["log_ratio"]
        self._said_zero = state["said_zero"]


def gradient_norms(losses: Sequence[Tensor], parameters: Sequence[Parameter], *, scale: float = 1.0) -> list[float]:
    r"""Return $\lVert\nabla_\theta\mathcal L\rVert_2$ of each loss, and keep the graph for the backward pass to come.

    Args:
        losses: Scalars; one that does not depend on the parameters has a gradient of zero.
        parameters: $\theta$.
        scale: Multiplies the losses on the way, against underflow in half precision.

    Returns:
        One norm per loss; the root of the mean square over the processes of a data-parallel training.

    Example:
        >>> theta = Parameter(torch.tensor([3.0, 4.0]))
        >>> gradient_norms([theta.square().sum() / 2, 2 * theta[0]], [theta])
        [5.0, 2.0]
        >>> theta.grad is None
        True
    """
    squares = torch.stack([_squared_norm(loss, parameters, scale) for loss in losses])
    if distributed.is_available() and distributed.is_initialized():
        distributed.all_reduce(squares)
        squares /= distributed.get_world_size()
    return [sqrt(square) / scale for square in squares.tolist()]


def _squared_norm(loss: Tensor, parameters: Sequence[Parameter], scale: float) -> Tensor:
    total = torch.zeros((), dtype=torch.float32, device=parameters[0].device)
    if not loss.requires_grad:
        return total
    for gradient in torch.autograd.grad(loss * scale, parameters, retain_graph=True, allow_unused=True):
        if gradient is not None:
            total += torch.linalg.vector_norm(gradient, dtype=torch.float32).square()
    return total


def let_compiled_networks_go_backward_again() -> None:
    """Set `torch.compile` so that a backward pass can follow the measuring of gradients.

    By default a compiled backward pass writes into what the forward pass kept for it, and refuses to keep the graph.
    """
    if hasattr(functorch_config, "donated_buffer"):  # PyTorch 2.4 does not do that yet
        functorch_config.donated_buffer = False
