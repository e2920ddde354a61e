"""The network as ONNX, the exchange format that nearly every runtime reads."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import onnx
import torch
from torch import Tensor, nn
from torch.export import Dim

from ..runtime.formats import FORMATS
from ..suppress_output import suppress_output, suppress_warnings
from .job import ExportJob

FILE = str(FORMATS["onnx"].file)
INPUT, OUTPUT = "image", "logits"

_OPSET = 18
_MOST_BYTES_IN_ONE_FILE = 2**31 - 2**24  # protobuf's limit is 2 GiB; the graph itself needs a little


def export_onnx(job: ExportJob, output: Path) -> list[str]:
    """Write a network in float32, float16 or INT8.

    Args:
        job: What is exported.
        output: An empty folder.

    Returns:
        Names of the written files.
    """
    network = job.copy_of_network()
    if job.precision == "float16":
        return write_onnx(Float16(network), output, job.window)
    if job.precision == "float32":
        return write_onnx(network, output, job.window)
    from .int8 import quantize_onnx

    with TemporaryDirectory(dir=output) as folder:
        write_onnx(network, Path(folder), job.window)
        return quantize_onnx(Path(folder) / FILE, output, job.calibration_windows())


def write_onnx(network: nn.Module, output: Path, window: Sequence[int]) -> list[str]:
    """Write a network: any batch of windows of one size, float32 `image` in, float32 `logits` out.

    Args:
        network: In eval mode, without deep supervision.
        output: Folder for `model.onnx`; weights beyond 2 GiB go into a second file.
        window: (channels, D, H, W), or of a network of two dimensions (channels, H, W).

    Returns:
        Names of the written files.
    """
    size = sum(weight.nbytes for weight in network.state_dict().values())
    # The example has two windows, since a dimension of one would be taken for fixed.
    example = torch.zeros(2, *window)
    with suppress_output(), suppress_warnings():
        torch.onnx.export(
            network.eval(),
            (example,),
            str(output / FILE),
            input_names=[INPUT],
            output_names=[OUTPUT],
            dynamic_shapes=({0: Dim("batch")},),
            opset_version=_OPSET,
            dynamo=True,
            external_data=size > _MOST_BYTES_IN_ONE_FILE,
        )
    _forget_origin(output / FILE)
    onnx.checker.check_model(str(output / FILE), full_check=True)
    return sorted(file.name for file in output.glob(f"{FILE}*"))


class Float16(nn.Module):
    """A network in float16 that takes and returns float32.

    Args:
        network: Changed to float16.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network.half()

    def forward(self, image: Tensor) -> Tensor:
        logits: Tensor = self.network(image.half()).float()
        return logits


def _forget_origin(file: Path) -> None:
    """Remove the exporter's notes on every node: a fifth of a student's file, and paths of this machine."""
    model = onnx.load(str(file), load_external_data=False)
    graph = model.graph
    for part in (*graph.node, *graph.value_info, *graph.input, *graph.output, *graph.initializer, graph, model):
        part.ClearField("metadata_props")
        part.ClearField("doc_string")
    onnx.save(model, str(file))
