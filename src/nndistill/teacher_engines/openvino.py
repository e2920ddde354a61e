"""The teacher in OpenVINO: the tapped modules are the outputs of its graph, and nothing behind them is computed."""

from __future__ import annotations

import openvino
import torch
from torch import Tensor, nn

from ..errors import UserError
from ..methods import Activations
from ..taps import Taps
from .base import outputs_of
from .openvino_graph import ELEMENT_TYPES, Precision, computes_bfloat16, convert, make_ready
from .pytorch import TorchEngine

_NAMES = {"float32": "openvino", "bfloat16": "openvino-bfloat16"}


class OpenVinoEngine:
    """A converted teacher on this machine's processor, with as many threads as PyTorch.

    The graph is made ready at the first batch of each shape. What it returns has the precision in which it computes,
    as from PyTorch under autocast: bfloat16 takes half the time to write, and to read again.

    Args:
        model: What `convert_teacher` returns.
        taps: The modules that were read.
        precision: In which it computes.

    Raises:
        UserError: The processor cannot compute in this precision.

    Example:
        >>> teacher = nn.Sequential(nn.Conv3d(1, 16, 3, padding=1), nn.ReLU()).eval()
        >>> in_pytorch = TorchEngine(teacher, Taps(encoder=("1",)))
        >>> x = torch.rand(1, 1, 8, 8, 8)
        >>> engine = OpenVinoEngine(convert_teacher(in_pytorch, x), in_pytorch.tapped.taps)
        >>> with torch.no_grad():
        ...     torch.allclose(engine(x).encoder[0], in_pytorch(x).encoder[0], atol=1e-5)
        True
    """

    def __init__(self, model: openvino.Model, taps: Taps, *, precision: Precision = "float32") -> None:
        if precision == "bfloat16" and not computes_bfloat16():
            raise UserError("OpenVINO cannot compute in bfloat16 on this processor.")
        self.name = _NAMES[precision]
        self._model, self._taps, self._precision = model, taps, precision
        self._requests: dict[tuple[int, ...], openvino.InferRequest] = {}

    def __call__(self, x: Tensor) -> Activations:
        request = self._request(tuple(x.shape))
        image = x.detach().to("cpu", torch.float32).contiguous()
        request.set_input_tensor(openvino.Tensor(image.numpy(), shared_memory=True))
        outputs = []
        for place, port in enumerate(request.model_outputs):
            # OpenVINO's own memory is overwritten by the next batch.
            outputs.append(torch.empty(tuple(port.shape), dtype=getattr(torch, self._precision)))
            request.set_output_tensor(place, _shared(outputs[-1], self._precision))
        request.infer()
        encoder, decoder = len(self._taps.encoder), len(self._taps.decoder)
        return Activations(
            encoder=outputs[:encoder],
            decoder=outputs[encoder : encoder + decoder],
            logits=outputs[-1] if len(outputs) > encoder + decoder else None,
        )

    def _request(self, shape: tuple[int, ...]) -> openvino.InferRequest:
        if shape not in self._requests:
            precision = self._precision
            self._requests[shape] = make_ready(self._model, shape, precision=precision, outputs=precision)
        return self._requests[shape]


def convert_teacher(engine: TorchEngine, example: Tensor) -> openvino.Model:
    """Trace what is read of a teacher into a graph of OpenVINO, for batches of any size.

    Args:
        engine: The teacher in PyTorch.
        example: A batch, on which it is traced.

    Raises:
        Exception: Of many kinds, if the network does what OpenVINO does not know.
    """
    with torch.no_grad(), torch.autocast("cpu", enabled=False):
        engine(example)  # the first run goes through the whole network, even if less is read
    return convert(_Outputs(engine).eval(), example)


def _shared(tensor: Tensor, precision: Precision) -> openvino.Tensor:
    """The memory of a tensor as OpenVINO's; NumPy, between the two, has no bfloat16."""
    return openvino.Tensor(tensor.view(torch.uint8).numpy(), tensor.shape, ELEMENT_TYPES[precision])


class _Outputs(nn.Module):
    """What is read of a teacher, as the outputs of a module."""

    def __init__(self, engine: TorchEngine) -> None:
        super().__init__()
        self.network = engine.tapped.network  # so that its weights are found
        self._engine = engine

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        return tuple(outputs_of(self._engine(x)))
