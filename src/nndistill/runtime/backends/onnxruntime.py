"""ONNX Runtime: any processor, and with `onnxruntime-gpu` NVIDIA's GPUs."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ...errors import UserError
from ..description import ModelDescription
from ..machine import processor_name
from .base import Array, Mirroring, refuse_other_dimensions, unreadable
from .mirroring import MirroringAverage

_CUDA = "CUDAExecutionProvider"
_CPU = "CPUExecutionProvider"
_ERRORS_ONLY = 3


class OnnxRuntimeBackend:
    """A network that ONNX Runtime computes.

    Args:
        file: The `.onnx`.
        description: What travels with it.
        device: `cpu`, `cuda` (`cuda:1` is the second GPU), or `auto`: a GPU if the installed runtime finds one.

    Raises:
        ModuleNotFoundError: ONNX Runtime is not installed.
        UserError: It has no such device, or cannot read the file.
    """

    name = "onnxruntime"

    def __init__(self, file: Path, description: ModelDescription, *, device: str = "auto") -> None:
        import onnxruntime

        providers = _providers(device, onnxruntime.get_available_providers())
        options = onnxruntime.SessionOptions()
        options.add_free_dimension_override_by_name("batch", 1)
        # Threads that spin while they wait would starve the next case's preparation.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.log_severity_level = _ERRORS_ONLY
        try:
            session = onnxruntime.InferenceSession(str(file), options, providers=providers)
        except Exception as error:  # each cause has a class of its own, without a common one
            raise unreadable(file, "ONNX Runtime", error) from error
        refuse_other_dimensions(file, len(session.get_inputs()[0].shape), description)
        on_gpu = session.get_providers()[0] == _CUDA
        if device.startswith("cuda") and not on_gpu:
            raise UserError(
                f"ONNX Runtime finds no GPU for the device {device}; check NVIDIA's driver, or use cpu.",
                option="device",
            )
        self.device = "NVIDIA GPU" if on_gpu else processor_name()
        self.precision = description.precision
        self._input = np.empty((1, len(description.channels), *description.patch_size), np.float32)
        self._output = np.empty((1, description.heads, *description.patch_size), np.float32)
        self._session = session
        self._binding = session.io_binding()
        for bind, name, array in (
            (self._binding.bind_input, session.get_inputs()[0].name, self._input),
            (self._binding.bind_output, session.get_outputs()[0].name, self._output),
        ):
            bind(name, "cpu", 0, np.float32, array.shape, array.ctypes.data)
        self._average = MirroringAverage(self._compute, input=self._input[0], output_shape=self._output.shape[1:])

    def logits(self, window: Array, mirrorings: Sequence[Mirroring] = ((),)) -> Array:
        return self._average(window, mirrorings)

    def _compute(self) -> Array:
        self._session.run_with_iobinding(self._binding)
        logits: Array = self._output[0]
        return logits


def _providers(device: str, available: Sequence[str]) -> list[object]:
    kind, _, number = device.partition(":")
    if not re.fullmatch(r"auto|cpu|cuda(:\d+)?", device):
        raise UserError(f"ONNX Runtime has no device {device!r}: give cpu, cuda or auto.", option="device")
    if kind == "cuda" and _CUDA not in available:
        raise UserError(
            f"the installed ONNX Runtime computes on the processor only, not on the device {device}; for NVIDIA's "
            "GPUs: pip uninstall onnxruntime, then pip install onnxruntime-gpu.",
            option="device",
        )
    if kind == "cpu" or _CUDA not in available:
        return [_CPU]
    return [(_CUDA, {"device_id": int(number or 0)}), _CPU]
