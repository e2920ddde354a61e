"""From a folder to a network that is ready to compute: an export, or for PyTorch a model folder of nnU-Net."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import get_args

from ..errors import UnknownName, UserError
from ..files import digest
from .backends.base import Backend
from .description import FILE_NAME, Format, ModelDescription

_BACKENDS: dict[Format, tuple[str, ...]] = {
    "nnunet": ("torch",),
    "safetensors": ("torch",),
    "onnx": ("onnxruntime", "openvino"),
    "openvino": ("openvino",),
}
"""Who computes a format; the first does where none is named."""
BACKENDS = ("onnxruntime", "openvino", "torch")
"""Names of all runtimes."""


@dataclass(frozen=True)
class LoadedModel:
    """A network in a runtime, and what it needs beside it."""

    description: ModelDescription
    backend: Backend


def load_model(
    model: Path, *, backend: str | None = None, device: str = "auto", fold: str | None = None
) -> LoadedModel:
    """Load a model for prediction.

    Args:
        model: A folder that `nndistill export` made, or a model folder of nnU-Net.
        backend: `torch`, `onnxruntime` or `openvino`; default: the one for the model's format.
        device: `cpu`, `cuda` (NVIDIA's GPUs), `gpu` (OpenVINO: Intel's GPUs), `mps`, or `auto`.
        fold: Of a model folder of nnU-Net with several; an export holds one.

    Raises:
        UnknownName: There is no such backend.
        UserError: There is no model, it is damaged or not for this backend, or there is no such device.
        ModuleNotFoundError: The backend is not installed; the command line says which extra brings it.
    """
    if backend is not None and backend not in BACKENDS:
        raise UnknownName("backend", backend, BACKENDS)
    if _is_export(model):
        return _exported(model, backend, device, fold)
    if backend not in (None, "torch"):
        raise UserError(
            f"{model} is a trained nnU-Net, which only PyTorch computes; for {backend} run: nndistill export {model} "
            f"--format {'openvino' if backend == 'openvino' else 'onnx'}."
        )
    return _model_folder(model, device, fold)


def backends_of(model: Path) -> tuple[str, ...]:
    """Names of the runtimes that compute a model; the first does where none is named.

    Raises:
        UserError: There is no model, or it is damaged.
    """
    return _BACKENDS[ModelDescription.read(model).format if _is_export(model) else "nnunet"]


def _is_export(model: Path) -> bool:
    """Whether it is an exported model; otherwise it is a model folder of nnU-Net."""
    if not model.is_dir():
        raise UserError(f"there is no folder {model}; give one that nndistill export made, or a trained nnU-Net's.")
    if (model / FILE_NAME).is_file():
        return True
    if not (model / "plans.json").is_file():
        raise UserError(
            f"{model} is neither an exported model, which has {FILE_NAME}, nor a trained nnU-Net, which has plans.json."
        )
    return False


def _exported(model: Path, backend: str | None, device: str, fold: str | None) -> LoadedModel:
    description = ModelDescription.read(model)
    if fold is not None:
        raise UserError(
            f"{model} is an export, which holds one fold; leave out --fold, or give the trained nnU-Net's folder."
        )
    backends = _BACKENDS[description.format]
    if backend is not None and backend not in backends:
        formats = [name for name in get_args(Format) if backend in _BACKENDS[name] and name != "nnunet"]
        raise UserError(
            f"{model} is a model for {' or '.join(backends)}, not for {backend}; export it with --format "
            f"{' or '.join(formats)}."
        )
    chosen = backend or backends[0]
    if (description.format, description.precision, chosen) == ("onnx", "int8", "openvino"):
        raise UserError(
            f"{model} was quantised for ONNX Runtime, and OpenVINO would compute it less exactly than was measured; "
            "export it with --format openvino --precision int8."
        )
    if description.format == "nnunet":
        return _model_folder(next(model.glob("*/*/plans.json")).parent, device, None)
    if description.format == "safetensors":
        return LoadedModel(description, _from_safetensors(model, device))
    if chosen == "openvino":
        from .backends.openvino import OpenVinoBackend

        return LoadedModel(description, OpenVinoBackend(_network_file(model, description), description, device=device))
    from .backends.onnxruntime import OnnxRuntimeBackend

    return LoadedModel(description, OnnxRuntimeBackend(_network_file(model, description), description, device=device))


def _network_file(model: Path, description: ModelDescription) -> Path:
    return model / {"onnx": "model.onnx", "openvino": "model.xml"}[description.format]


def _model_folder(model: Path, device: str, fold: str | None) -> LoadedModel:
    from ..nnunet.models.describe import describe
    from ..nnunet.models.model_folder import ModelFolder
    from ..nnunet.training.run import find_device
    from .backends.torch import TorchBackend

    folder = ModelFolder.read(model)
    checkpoint_file = folder.checkpoint_file(fold or folder.only_fold())
    files = {str(checkpoint_file.relative_to(model)): digest(checkpoint_file)}
    description = describe(folder, checkpoint_file).model_copy(update={"files": files})
    return LoadedModel(description, TorchBackend(folder.network(checkpoint_file), device=find_device(device)))


def _from_safetensors(model: Path, device: str) -> Backend:
    from ..export.safetensors import read_network
    from ..nnunet.training.run import find_device
    from .backends.torch import TorchBackend

    return TorchBackend(read_network(model), device=find_device(device))
