"""An exponential moving average of a network's weights, kept next to the weights that are trained."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn
from torch.optim.swa_utils import get_ema_multi_avg_fn


class WeightAverage:
    r"""$\bar w \leftarrow d\,\bar w + (1-d)\,w$ with every `update`, starting from the network's weights.

    Args:
        network: May be compiled or wrapped for data parallelism; its parameters are the $w$.
        decay: $d$, in (0, 1).
    """

    def __init__(self, network: nn.Module, *, decay: float) -> None:
        self._weights = [p.detach() for p in network.parameters()]
        self._average = [w.clone() for w in self._weights]
        self._mix = get_ema_multi_avg_fn(decay)  # type: ignore[no-untyped-call]

    def update(self) -> None:
        """Include the current weights in the average."""
        self._mix(self._average, self._weights, None)

    def restart(self) -> None:
        """Set the average to the current weights."""
        torch._foreach_copy_(self._average, self._weights)

    def swap(self) -> None:
        """Exchange the average and the network's weights; a second call exchanges them back."""
        for weight, average in zip(self._weights, self._average, strict=True):
            held = weight.clone()
            weight.copy_(average)
            average.copy_(held)

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Run the network with the average."""
        self.swap()
        try:
            yield
        finally:
            self.swap()
