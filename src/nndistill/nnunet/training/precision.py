r"""The precision that a network is trained in, chosen once per run: float32, bfloat16, or nnU-Net's float16 on CUDA.

Under bfloat16, convolutions and linear layers compute in it, and so what they pass on is stored in it. Weights,
optimiser, the statistics of norms, losses and wavelet transforms stay in float32.
"""

from __future__ import annotations

import math
import platform
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from copy import deepcopy
from typing import Any, NamedTuple

import torch
from torch import Tensor, autocast, nn

from ...errors import UserError
from ...recipes.recipe import WantedPrecision
from ..run_setup import Precision

PAYS = 1.25
"""How many times as fast as float32 bfloat16 has to be for a run to take it without being asked."""

CLEAR = 2.0
"""A ratio that needs no second measurement. A small one does: any other program can make a single step slow."""

WITH_BFLOAT16 = ("cpu", "cuda")
"""Types of devices on which a network can be trained in bfloat16."""

_BUDGET_S, _LONGEST_AXIS = 1.0, 48


class ChosenPrecision(NamedTuple):
    """A precision, and the sentence that says why."""

    precision: Precision
    reason: str
    remark: bool = False
    """Whether the user should hear of it, and not only the log."""


def choose_precision(
    wanted: WantedPrecision, device: torch.device, *, speed_of_bfloat16: Callable[[], float]
) -> ChosenPrecision:
    """Choose the precision of a run that begins.

    Args:
        wanted: The recipe's.
        device: Where the network is trained.
        speed_of_bfloat16: Measures how many times as fast as float32 it is on this processor; called if that matters.

    Raises:
        UserError: The device has no bfloat16.

    Example:
        >>> choose_precision("auto", torch.device("cpu"), speed_of_bfloat16=lambda: 0.4).precision
        'float32'
        >>> choose_precision("auto", torch.device("cuda"), speed_of_bfloat16=lambda: 3.0).precision
        'float16'
    """
    if wanted == "bfloat16" and device.type not in WITH_BFLOAT16:
        raise UserError(
            f"bfloat16 is for processors and NVIDIA's GPUs; on {device.type} leave the precision at auto.",
            option=("precision", "device"),
        )
    if wanted == "float32" or (wanted == "bfloat16" and device.type != "cpu"):
        return ChosenPrecision(wanted, "as the recipe says")
    if device.type != "cpu":
        return ChosenPrecision(precision_of_nnunet(device), "as stock nnU-Net")
    if wanted == "auto" and not may_be_faster_in_bfloat16():
        return ChosenPrecision("float32", "without AVX-512 this processor cannot be faster in bfloat16")
    speed = speed_of_bfloat16()
    measured = f"bfloat16 is {speed:.2g} times as fast as float32 on this processor"
    if wanted == "auto":
        return ChosenPrecision("bfloat16" if speed >= PAYS else "float32", measured)
    if speed < 1:
        return ChosenPrecision(
            "bfloat16",
            f"bfloat16 takes {1 / speed:.2g} times as long as float32 on this processor, which is not made for it: "
            "the training works, but float32 would be done sooner",
            remark=True,
        )
    return ChosenPrecision("bfloat16", measured)


def may_be_faster_in_bfloat16() -> bool:
    """Whether it is worth measuring: PyTorch has no fast bfloat16 for x86 processors without AVX-512."""
    x86 = platform.machine().lower() in ("x86_64", "amd64")
    return not x86 or torch.backends.cpu.get_cpu_capability() not in ("DEFAULT", "AVX2")


def refuse_another_precision(begun: Precision, wanted: WantedPrecision, device: torch.device) -> None:
    """Refuse to continue a run in another precision than the one in which it began.

    Args:
        begun: The precision of its checkpoint.
        wanted: The recipe's.
        device: Where the run would continue.

    Raises:
        UserError: The recipe now names another precision, or the device cannot compute in that one.

    Example:
        >>> refuse_another_precision("float32", "auto", torch.device("cpu"))  # raises nothing: it can go on
    """
    if wanted not in ("auto", begun):
        raise UserError(
            f"this training was begun in {begun} and cannot continue in {wanted}: leave the precision as it was, or "
            "begin another training.",
            option=("precision", "name"),
        )
    devices = {"float16": ("cuda",), "bfloat16": WITH_BFLOAT16}
    if begun in devices and device.type not in devices[begun]:
        raise UserError(
            f"this training was begun in {begun} and cannot continue on {device.type}, which does not compute in it: "
            "continue on the device on which it was begun, or begin another training.",
            option=("device", "name"),
        )


def precision_of_nnunet(device: torch.device) -> Precision:
    """What stock nnU-Net trains in, and what a run computes in whose checkpoint names no precision."""
    return "float16" if device.type == "cuda" else "float32"


def computing_in(precision: Precision, device: torch.device) -> AbstractContextManager[Any]:
    """Let networks compute in this precision.

    On CUDA, float32 is an autocast too: nnU-Net's validation opens one of its own, which takes over the precision of
    the one around it.

    Example:
        >>> with computing_in("bfloat16", torch.device("cpu")):
        ...     nn.Linear(2, 2)(torch.zeros(1, 2)).dtype
        torch.bfloat16
    """
    if precision == "float32" and device.type != "cuda":
        return nullcontext()
    return autocast(device.type, dtype=getattr(torch, precision))


class LossInFloat32(nn.Module):
    """A loss that reads the logits of a network in bfloat16 in float32.

    A processor's autocast computes cross-entropy in float32, but neither softmax nor sigmoid, and so none of what Dice
    adds up over all voxels. Logits of another precision are passed on as they are.

    Args:
        loss: Compares `(output, target)`; an output is a tensor, or a list of them under deep supervision.

    Example:
        >>> loss = LossInFloat32(lambda output, target: (output.softmax(1) - target).square().mean())
        >>> loss(torch.zeros(1, 2, 4, 4, 4, dtype=torch.bfloat16), torch.zeros(1, 2, 4, 4, 4)).dtype
        torch.float32
    """

    def __init__(self, loss: Callable[[Any, Any], Tensor]) -> None:
        super().__init__()
        self.loss = loss

    def forward(self, output: Any, target: Any) -> Tensor:
        outputs = output if isinstance(output, (list, tuple)) else [output]
        if outputs[0].dtype != torch.bfloat16:
            return self.loss(output, target)
        wide = [logits.float() for logits in outputs]
        with autocast(wide[0].device.type, enabled=False):
            return self.loss(wide if isinstance(output, (list, tuple)) else wide[0], target)


def measure_bfloat16(network: nn.Module, *, channels: int, patch_size: Sequence[int]) -> float:
    """Return how many times as fast as float32 a network's forward and backward pass is in bfloat16 on this processor.

    That takes about a second: both take turns on one image of at most 48 voxels per axis, or twice the network's total
    stride. Neither the network nor the random numbers are changed.

    Args:
        network: One of nnU-Net's, with or without deep supervision, on the CPU.
        channels: Those of its input.
        patch_size: Voxels of a patch.
    """
    copy = deepcopy(network).train()
    image = torch.linspace(-1, 1, channels * math.prod(size := _small_patch(network, patch_size)))
    image = image.view(1, channels, *size)
    seconds: dict[Precision, list[float]] = {"float32": [], "bfloat16": []}
    end = time.perf_counter() + _BUDGET_S
    with torch.random.fork_rng(devices=[]), torch.enable_grad():  # a network may have dropout
        while True:
            for precision, measured in seconds.items():
                measured.append(_seconds_per_step(copy, image, precision))
            if len(seconds["float32"]) == 1:  # which is slower, because everything is done for the first time
                continue
            speed = min(seconds["float32"][1:]) / min(seconds["bfloat16"][1:])
            if speed > CLEAR or time.perf_counter() > end:
                return speed


def _small_patch(network: nn.Module, patch_size: Sequence[int]) -> list[int]:
    """A patch that the network takes and that is computed in no time."""
    strides = [math.prod(along) for along in zip(*_strides(network), strict=True)]
    return [
        min(size, max(2, _LONGEST_AXIS // stride) * stride) for size, stride in zip(patch_size, strides, strict=True)
    ]


def _strides(network: nn.Module) -> list[tuple[int, ...]]:
    encoder: Any = network.encoder
    return [tuple(stride) for stride in encoder.strides]


def _seconds_per_step(network: nn.Module, image: Tensor, precision: Precision) -> float:
    network.zero_grad(set_to_none=True)
    start = time.perf_counter()
    with computing_in(precision, image.device):
        output = network(image)
    outputs = output if isinstance(output, (list, tuple)) else [output]
    torch.stack([logits.float().mean() for logits in outputs]).sum().backward()  # type: ignore[no-untyped-call]
    return time.perf_counter() - start
