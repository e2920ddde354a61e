"""The teacher in PyTorch with channels as the fastest axis in memory."""

from __future__ import annotations

from copy import deepcopy

import torch
from torch import Tensor, nn

from ..methods import Activations
from ..taps import unwrapped
from .pytorch import TorchEngine


class ChannelsLastEngine:
    """A copy of the teacher whose tensors are stored channels last, which some processors convolve faster.

    What it returns is contiguous, as the student's features are.

    Args:
        engine: The teacher; it is left as it is.

    Example:
        >>> from torch import nn
        >>> from nndistill.taps import Taps
        >>> teacher = nn.Sequential(nn.Conv3d(1, 16, 3, padding=1), nn.ReLU()).eval()
        >>> engine = ChannelsLastEngine(TorchEngine(teacher, Taps(encoder=("1",))))
        >>> (feature,) = engine(torch.rand(1, 1, 8, 8, 8)).encoder
        >>> feature.is_contiguous()
        True
    """

    name = "torch-channels-last"

    def __init__(self, engine: TorchEngine) -> None:
        network = deepcopy(unwrapped(engine.tapped.network))
        flat = any(isinstance(module, nn.Conv2d) for module in network.modules())
        self._format = torch.channels_last if flat else torch.channels_last_3d
        copied = network.to(memory_format=self._format)  # type: ignore[call-overload]
        self._engine = TorchEngine(copied, engine.tapped.taps, logits=engine.logits)

    def __call__(self, x: Tensor) -> Activations:
        found = self._engine(x.contiguous(memory_format=self._format))
        return Activations(
            encoder=[feature.contiguous() for feature in found.encoder],
            decoder=[feature.contiguous() for feature in found.decoder],
            logits=None if found.logits is None else found.logits.contiguous(),
        )
