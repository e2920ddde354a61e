"""A small network in PyTorch, in place of a runtime."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn


class FakeBackend:
    """Computes mirrorings in the plainest way, and keeps the windows that it was given."""

    name = "fake"
    device = "processor"

    def __init__(self, network: nn.Module) -> None:
        self.network = network
        self.windows: list[np.ndarray] = []

    @torch.inference_mode()
    def logits(self, window, mirrorings=((),)):
        assert window.flags.c_contiguous
        self.windows.append(window.copy())
        outputs = [self._flipped(window, [axis + 1 for axis in axes]) for axes in mirrorings]
        return (sum(outputs) / len(outputs)).numpy()

    def _flipped(self, window, axes):
        return self.network(torch.from_numpy(window).flip(axes)[None])[0].flip(axes)


def small_network(channels: int, heads: int) -> nn.Module:
    """Two convolutions with weights drawn from a fixed seed."""
    torch.manual_seed(1)
    return nn.Sequential(nn.Conv3d(channels, 4, 3, padding=1), nn.LeakyReLU(), nn.Conv3d(4, heads, 3, padding=1)).eval()
