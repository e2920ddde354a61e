"""The network as OpenVINO stores it: `model.xml`, the graph, and `model.bin`, the weights."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

import openvino

from ..runtime.formats import FORMATS
from .job import ExportJob
from .onnx import FILE as ONNX_FILE
from .onnx import write_onnx

FILE = str(FORMATS["openvino"].file)


def export_openvino(job: ExportJob, output: Path) -> list[str]:
    """Write a network by way of ONNX.

    Args:
        job: What is exported.
        output: An empty folder.

    Returns:
        Names of the written files.
    """
    with TemporaryDirectory(dir=output) as folder:
        write_onnx(job.copy_of_network(), Path(folder), job.window)
        onnx_file = Path(folder) / ONNX_FILE
        if job.precision == "int8":
            from .int8 import quantize_openvino

            return quantize_openvino(onnx_file, output, job.calibration_windows())
        return write_openvino(onnx_file, output, float16=job.precision == "float16")


def write_openvino(onnx_file: Path, output: Path, *, float16: bool = False) -> list[str]:
    """Convert a network from ONNX.

    Args:
        onnx_file: A float32 network.
        output: Folder for the two files.
        float16: Store the weights in half the space. The precision of the computation is chosen when they are loaded.

    Returns:
        Names of the written files.
    """
    model = openvino.Core().read_model(onnx_file)
    openvino.save_model(model, output / FILE, compress_to_fp16=float16)
    return [FILE, "model.bin"]
