"""From a folder to a network that is ready to compute: an export, or for PyTorch a model folder of nnU-Net."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ..errors import UnknownName, UserError
from .backends.base import Backend
from .description import FILE_NAME, ModelDescription
from .formats import FORMATS, RUNTIMES, ModelFormat, Runtime, formats_for

_TRAINED = "nnunet"
"""The format of a model folder as nnU-Net's training leaves it."""


@dataclass(frozen=True)
class LoadedModel:
    """A network in a runtime, with its description."""

    description: ModelDescription
    backend: Backend


def load_model(
    model: Path, *, backend: str | None = None, device: str = "auto", fold: str | Sequence[str] | None = None
) -> LoadedModel:
    """Load a model for prediction.

    Args:
        model: A folder that `nndistill export` made, or a model folder of nnU-Net.
        backend: `torch`, `onnxruntime` or `openvino`; default: the one for the model's format.
        device: `cpu`, `cuda` (NVIDIA's GPUs), `gpu` (OpenVINO: Intel's GPUs), `mps`, or `auto`.
        fold: Of a model folder of nnU-Net with several: one, or those whose logits are averaged. An export holds the
            folds that it was made of.

    Raises:
        UnknownName: There is no such backend.
        UserError: There is no model, it is damaged or not for this backend, or there is no such device.
        ModuleNotFoundError: The backend is not installed; the command line says which extra installs it.

    Example:
        >>> model = load_model(export)
        >>> model.description.labels
        {'background': 0, 'a': 1, 'b': 2}
        >>> model.backend.name
        'openvino'
    """
    if backend is not None and backend not in RUNTIMES:
        raise UnknownName("backend", backend, RUNTIMES, option="backend")
    description = _read_description(model)
    if description is not None and fold:
        raise UserError(
            f"{model} is an export, which holds one fold or the mean of several: name no fold, or give the trained "
            "nnU-Net's folder.",
            option="fold",
        )
    runtime = _choose_runtime(model, description, backend)
    described, network = _format_of(description).read(model, description, fold)
    return LoadedModel(described, runtime.load(network, described, device=device))


def backends_of(model: Path) -> tuple[str, ...]:
    """Names of the runtimes that compute a model, its default first.

    Raises:
        UserError: There is no model, or it is damaged.
    """
    return _format_of(_read_description(model)).backends


def _read_description(model: Path) -> ModelDescription | None:
    """The description of an exported model; `None` for a model folder of nnU-Net."""
    if not model.is_dir():
        raise UserError(f"there is no folder {model}; give one that nndistill export made, or a trained nnU-Net's.")
    if (model / FILE_NAME).is_file():
        return ModelDescription.read(model)
    if not (model / "plans.json").is_file():
        raise UserError(
            f"{model} is neither an exported model, which has {FILE_NAME}, nor a trained nnU-Net, which has plans.json."
        )
    return None


def _format_of(description: ModelDescription | None) -> ModelFormat:
    return FORMATS[_TRAINED if description is None else description.format]


def _choose_runtime(model: Path, description: ModelDescription | None, backend: str | None) -> Runtime:
    backends = _format_of(description).backends
    runtime = RUNTIMES[backend or backends[0]]
    if runtime.name not in backends:
        formats = " or ".join(formats_for(runtime.name))
        if description is None:
            raise UserError(
                f"{model} is a trained nnU-Net, which only {RUNTIMES[backends[0]].title} computes; for {runtime.name} "
                f"export it first, as {formats}.",
                option="backend",
            )
        raise UserError(
            f"{model} is a model for {' or '.join(backends)}, not for {runtime.name}; export it as {formats}.",
            option="backend",
        )
    if description is not None and description.precision == "int8" and runtime.name != backends[0]:
        raise UserError(
            f"{model} was quantised for {RUNTIMES[backends[0]].title}, and {runtime.title} would compute it less "
            f"exactly than was measured; export it as {' or '.join(formats_for(runtime.name, 'int8'))} in int8.",
            option="backend",
        )
    return runtime
