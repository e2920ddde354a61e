"""The network as OpenVINO keeps it: `model.xml`, the graph, and `model.bin`, the weights."""

from __future__ import annotations

from pathlib import Path

import openvino

FILE = "model.xml"


def write_openvino(onnx_file: Path, output: Path, *, float16: bool = False) -> list[str]:
    """Convert a network from ONNX.

    Args:
        onnx_file: A float32 network.
        output: Folder for the two files.
        float16: Store the weights in half of the space; in which precision they are used is said when they are loaded.

    Returns:
        Names of the written files.
    """
    model = openvino.Core().read_model(onnx_file)
    openvino.save_model(model, output / FILE, compress_to_fp16=float16)
    return [FILE, "model.bin"]
