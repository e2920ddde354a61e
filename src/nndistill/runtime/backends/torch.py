"""PyTorch: what the model was trained with, on processors and GPUs."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext

import torch
from torch import nn

from ...errors import UserError
from ..description import ModelDescription
from ..machine import processor_name
from .base import Array, Mirroring


class TorchBackend:
    """A network that PyTorch computes; on NVIDIA's GPUs in nnU-Net's mixed precision.

    Args:
        network: Without deep supervision.
        device: The device that computes.
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


def load_torch(network: nn.Module, description: ModelDescription, *, device: str = "auto") -> TorchBackend:
    """Make a network ready to compute on a device that is named as in `load_model`.

    Raises:
        UserError: There is no such device.
    """
    return TorchBackend(network, device=find_device(device))


def find_device(device: str) -> torch.device:
    """Turn `auto`, `cpu`, `cuda` or `mps` into a device that is available.

    Raises:
        UserError: It is not.
    """
    present = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if device == "auto":
        device = next(name for name in ("cuda", "mps", "cpu") if present[name])
    if not present.get(device, False):
        usable = ", ".join(name for name, there in present.items() if there)
        raise UserError(f"the device {device} is not available on this machine (available: {usable}).", option="device")
    return torch.device(device)
