"""A network of PyTorch as a graph of OpenVINO, and the graph made ready for this machine's processor."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import openvino
import torch
from openvino.frontend import FrontEndManager
from openvino.frontend.pytorch.ts_decoder import TorchScriptPythonDecoder
from openvino.preprocess import PrePostProcessor
from torch import Tensor, nn

from ..suppress_output import suppress_output, suppress_warnings

Precision = Literal["float32", "bfloat16"]

ELEMENT_TYPES = {"float32": openvino.Type.f32, "bfloat16": openvino.Type.bf16}
_HINTS = {"float32": "f32", "bfloat16": "bf16"}


def convert(network: nn.Module, example: Tensor) -> openvino.Model:
    """Trace a network into a graph for batches of any size.

    This is what `openvino.convert_model` does, without its side effects: that sets the level of the root logger, so
    that warnings are lost, and reports the conversion to OpenVINO's makers.

    Args:
        network: In eval mode.
        example: A batch, on which it is traced.

    Raises:
        Exception: Of many kinds, if the network does what OpenVINO does not know.
    """
    with torch.no_grad(), torch.autocast("cpu", enabled=False), suppress_output(), suppress_warnings():
        frontend = FrontEndManager().load_by_framework("pytorch")
        traced = TorchScriptPythonDecoder(network, example_input=(example,), shared_memory=False)
        model: openvino.Model = frontend.convert(frontend.load(traced))
    return model


def make_ready(
    model: openvino.Model, shape: Sequence[int], *, precision: Precision, outputs: Precision = "float32"
) -> openvino.InferRequest:
    """Compile a graph for batches of one size, which is faster than any size, with as many threads as PyTorch.

    Args:
        model: The graph; it is not changed.
        shape: Of a batch, `(B, C, D, H, W)`.
        precision: In which it computes; see `computes_bfloat16`.
        outputs: The type of what it returns.
    """
    fixed = model.clone()
    fixed.reshape(tuple(shape))
    converted = PrePostProcessor(fixed)
    for place in range(len(fixed.outputs)):
        converted.output(place).tensor().set_element_type(ELEMENT_TYPES[outputs])
    fixed = converted.build()
    settings: dict[str, Any] = {
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_PRECISION_HINT": _HINTS[precision],
        "INFERENCE_NUM_THREADS": torch.get_num_threads(),
        "ENABLE_CPU_PINNING": False,  # two trainings beside each other would be pinned to the same cores
    }
    return openvino.Core().compile_model(fixed, "CPU", settings).create_infer_request()


def computes_bfloat16() -> bool:
    """Whether OpenVINO computes in bfloat16 on this processor."""
    return "BF16" in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
