"""PyTorch: what the model was trained with, on processors and GPUs."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from functools import cache

import torch
from torch import nn
from torch.nn.functional import conv_transpose3d

from ...errors import UserError
from ..description import ModelDescription
from ..formats import Precision
from ..machine import processor_name
from .base import Array, Mirroring

logger = logging.getLogger(__name__)


class TorchBackend:
    """A network that PyTorch computes; on NVIDIA's GPUs in nnU-Net's mixed precision.

    Args:
        network: Without deep supervision.
        device: The device that computes.
    """

    name = "torch"
    precision: Precision = "float32"

    def __init__(self, network: nn.Module, *, device: torch.device) -> None:
        self._network = network.eval().to(device)
        self._device = device
        self.device = torch.cuda.get_device_name(device) if device.type == "cuda" else processor_name()
        if device.type == "cuda":
            torch.backends.cudnn.benchmark = True  # every window has the same size

    @torch.inference_mode()
    def logits(self, window: Array, mirrorings: Sequence[Mirroring] = ((),)) -> Array:
        total: torch.Tensor | None = None
        try:
            batch = torch.from_numpy(window)[None].to(self._device)
            with torch.autocast("cuda") if self._device.type == "cuda" else nullcontext():
                for mirroring in mirrorings:
                    axes = [axis + 2 for axis in mirroring]
                    output = torch.flip(self._network(torch.flip(batch, axes)), axes)
                    total = output if total is None else total.add_(output)
        except torch.cuda.OutOfMemoryError as error:
            raise UserError(
                f"{self.device} has not enough memory for a window of {'×'.join(map(str, window.shape[1:]))} voxels; "
                "end other programs that use it, or compute on the CPU.",
                option="device",
            ) from error
        assert total is not None
        logits: Array = total.div_(len(mirrorings))[0].float().cpu().numpy()
        return logits


def load_torch(network: nn.Module, description: ModelDescription, *, device: str = "auto") -> TorchBackend:
    """Make a network ready to compute on a device that is named as in `load_model`.

    Raises:
        UserError: There is no such device.
    """
    return TorchBackend(network, device=find_device(device))


def find_device(device: str, *, probe: Callable[[torch.device], object] | None = None) -> torch.device:
    """Turn `auto`, `cpu`, `cuda` or `mps` into a device that is available; `auto` into one that can run the networks.

    Args:
        device: Its name.
        probe: Runs what the networks need on a device, and raises what the device raises if it cannot. Default: a
            transposed convolution in three dimensions, forward and backward, and double precision.

    Raises:
        UserError: It is not available.

    Example:
        >>> find_device("cpu")
        device(type='cpu')
    """
    present = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    usable = [name for name, there in present.items() if there]
    if device == "auto":
        return next(found for name in usable if (found := _if_it_can(name, probe or _run_what_networks_need)))
    if device not in usable:
        raise UserError(
            f"the device {device} is not available on this machine (available: {', '.join(sorted(usable))}).",
            option="device",
        )
    return torch.device(device)


@cache
def _if_it_can(name: str, probe: Callable[[torch.device], object]) -> torch.device | None:
    device = torch.device(name)
    if name == "cpu":
        return device
    try:
        probe(device)
    except torch.cuda.OutOfMemoryError:
        return device  # it can, once there is memory
    except (RuntimeError, NotImplementedError, TypeError) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")
        logger.warning("the device %s cannot run the networks (%s), so another one computes.", name, reason)
        return None
    return device


def _run_what_networks_need(device: torch.device) -> None:
    weight = torch.ones(1, 1, 2, 2, 2, device=device, requires_grad=True)
    upsampled = conv_transpose3d(torch.ones(1, 1, 2, 2, 2, device=device), weight, stride=2)
    upsampled.sum().backward()  # type: ignore[no-untyped-call]
    torch.ones(1, dtype=torch.float64, device=device).sum().item()
