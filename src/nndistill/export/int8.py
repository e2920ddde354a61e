"""Convolutions in 8 bits: post-training quantisation with NNCF, calibrated on windows of the user's cases."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

# NNCF reports its use over the network unless it is asked not to, in this way.
os.environ.setdefault("NNCF_CI", "1")

import nncf
import onnx
import openvino

from ..runtime.backends.base import Array
from ..suppress_output import suppress_output, suppress_warnings
from . import onnx as onnx_export
from . import openvino as openvino_export


def quantize_openvino(onnx_file: Path, output: Path, windows: Sequence[Array]) -> list[str]:
    """Quantise a float32 network and write it for OpenVINO.

    Args:
        onnx_file: The float32 network.
        output: Folder for `model.xml` and `model.bin`.
        windows: (channels, D, H, W) each, normalised images to calibrate with.

    Returns:
        Names of the written files.
    """
    model = openvino.Core().read_model(onnx_file)
    openvino.save_model(_quantized(model, windows), output / openvino_export.FILE, compress_to_fp16=False)
    return [openvino_export.FILE, "model.bin"]


def quantize_onnx(onnx_file: Path, output: Path, windows: Sequence[Array]) -> list[str]:
    """Quantise a float32 network and write it as ONNX; arguments and result as in `quantize_openvino`."""
    onnx.save(_quantized(onnx.load(str(onnx_file)), windows), str(output / onnx_export.FILE))
    return [onnx_export.FILE]


def _quantized(model: Any, windows: Sequence[Array]) -> Any:
    samples = nncf.Dataset(windows, lambda window: {onnx_export.INPUT: window[None]})
    with suppress_output(), suppress_warnings():
        # Mixed: activations may be asymmetric, as those behind leaky ReLU are.
        return nncf.quantize(model, samples, preset=nncf.QuantizationPreset.MIXED, subset_size=len(windows))
