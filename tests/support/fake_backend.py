"""A small network in PyTorch, in place of a runtime."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn


class FakeBackend:
    """Computes mirrorings in the plainest way, and keeps the windows that it was given."""

    name = "fake"
    precision = "float32"
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


def small_network(channels: int, heads: int, *, ndim: int = 3) -> nn.Module:
    """Two convolutions, from a seed that gives every label; their stride makes every place and mirroring differ."""
    torch.manual_seed(4)
    convolution, transposed = (nn.Conv3d, nn.ConvTranspose3d) if ndim == 3 else (nn.Conv2d, nn.ConvTranspose2d)
    down, up = convolution(channels, 4, 3, stride=2, padding=1), transposed(4, heads, 2, stride=2)
    return nn.Sequential(down, nn.LeakyReLU(), up).eval()
