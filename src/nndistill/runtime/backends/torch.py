"""PyTorch: what the model was trained with, on processors and GPUs."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext

import torch
from torch import nn

from ..machine import processor_name
from .base import Array, Mirroring


class TorchBackend:
    """A network that PyTorch computes; on NVIDIA's GPUs in nnU-Net's mixed precision.

    Args:
        network: Without deep supervision.
        device: Where to compute.
    """

    name = "torch"

    def __init__(self, network: nn.Module, *, device: torch.device) -> None:
        self._network = network.eval().to(device)
        self._device = device
        self.device = torch.cuda.get_device_name(device) if device.type == "cuda" else processor_name()
        if device.type == "cuda":
            torch.backends.cudnn.benchmark = True  # every window has the same size

    @torch.inference_mode()
    def logits(self, window: Array, mirrorings: Sequence[Mirroring] = ((),)) -> Array:
        batch = torch.from_numpy(window)[None].to(self._device)
        total: torch.Tensor | None = None
        with torch.autocast("cuda") if self._device.type == "cuda" else nullcontext():
            for mirroring in mirrorings:
                axes = [axis + 2 for axis in mirroring]
                output = torch.flip(self._network(torch.flip(batch, axes)), axes)
                total = output if total is None else total.add_(output)
        assert total is not None
        logits: Array = total.div_(len(mirrorings))[0].float().cpu().numpy()
        return logits
