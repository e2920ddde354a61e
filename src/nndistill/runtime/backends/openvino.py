"""OpenVINO: Intel and AMD processors, on which it is the fastest, and Intel's GPUs."""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ...errors import UserError
from ..description import ModelDescription
from ..formats import Precision
from .base import Array, Mirroring, refuse_other_dimensions, unreadable
from .mirroring import MirroringAverage

logger = logging.getLogger(__name__)

_CAPABILITIES = {"bf16": "BF16", "f16": "FP16"}


class OpenVinoBackend:
    """A network that OpenVINO computes, one window at a time on all cores.

    Args:
        file: The `.xml` of an OpenVINO model, or an `.onnx`.
        description: What travels with it.
        device: `cpu`, `gpu` (Intel's; `gpu.1` is the second), or `auto`: the processor.

    Raises:
        ModuleNotFoundError: OpenVINO is not installed.
        UserError: It has no such device, or cannot read the file.
    """

    name = "openvino"

    def __init__(self, file: Path, description: ModelDescription, *, device: str = "auto") -> None:
        import openvino

        core = openvino.Core()
        place = _find_device(device, core.available_devices)
        self.device = str(core.get_property(place, "FULL_DEVICE_NAME"))
        hint = _precision_hint(description.precision, core, place, self.device)
        self.precision: Precision = "float32" if hint is None else description.precision
        window = (1, len(description.channels), *description.patch_size)
        try:
            network = core.read_model(file)
            refuse_other_dimensions(file, network.input().partial_shape.rank.get_length(), description)
            network.reshape(window)  # a fixed size is computed faster than any batch
            compiled = core.compile_model(
                network,
                place,
                {
                    "PERFORMANCE_HINT": "LATENCY",
                    "INFERENCE_PRECISION_HINT": hint or "f32",
                },
            )
        except RuntimeError as error:
            raise unreadable(file, "OpenVINO", error) from error
        self._request = compiled.create_infer_request()
        self._input, self._output = np.empty(window, np.float32), np.empty(tuple(compiled.output().shape), np.float32)
        self._request.set_input_tensor(openvino.Tensor(self._input, shared_memory=True))
        self._request.set_output_tensor(openvino.Tensor(self._output, shared_memory=True))
        self._average = MirroringAverage(self._compute, input=self._input[0], output_shape=self._output.shape[1:])

    def logits(self, window: Array, mirrorings: Sequence[Mirroring] = ((),)) -> Array:
        return self._average(window, mirrorings)

    def _compute(self) -> Array:
        self._request.infer()
        logits: Array = self._output[0]
        return logits


def _find_device(device: str, available: Sequence[str]) -> str:
    wanted = "CPU" if device == "auto" else device.upper()
    if not re.fullmatch(r"CPU|GPU(\.\d+)?", wanted):
        raise UserError(
            f"OpenVINO has no device {device!r}: give cpu or gpu, and for NVIDIA's GPUs another backend.",
            option=("device", "backend"),
        )
    if wanted not in available and not any(name.startswith(f"{wanted}.") for name in available):
        present = ", ".join(name.lower() for name in available)
        raise UserError(
            f"OpenVINO finds no device {device} on this machine (it has: {present}); a GPU has to be one of Intel's, "
            "with its driver installed.",
            option="device",
        )
    return wanted


def _precision_hint(precision: Precision, core: Any, place: str, device: str) -> str | None:
    """OpenVINO's name of a precision; `None` if the device cannot compute in it.

    Explicit, because by default OpenVINO computes even a float32 network in bfloat16 if the processor can.
    """
    wanted = {"float32": "f32", "bfloat16": "bf16", "float16": "f16", "int8": "f32"}[precision]
    if wanted == "f32" or _CAPABILITIES[wanted] in core.get_property(place, "OPTIMIZATION_CAPABILITIES"):
        return wanted
    if wanted == "bf16":
        logger.warning("%s cannot compute in bfloat16: this model is computed in float32, which takes longer.", device)
    return None
