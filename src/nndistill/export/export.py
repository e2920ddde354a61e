"""From a trained nnU-Net to an exported folder: written, checked, and only then put in its place."""

from __future__ import annotations

import platform
from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, get_args

import torch
from torch import nn

from ..analysis.complexity import network_complexity
from ..errors import UnknownName, UserError
from ..files import atomic_folder, digest
from ..nnunet.models.describe import NotDescribable, describe
from ..nnunet.models.model_folder import ModelFolder
from ..runtime.backends.base import Backend
from ..runtime.backends.torch import TorchBackend
from ..runtime.cases import InputCase
from ..runtime.description import FILE_NAME, Format, ModelDescription, Precision
from ..runtime.loading import load_model
from .accuracy import measure_accuracy, refuse_fall
from .check import Agreement, compare, noise, refuse_disagreement
from .sample_cases import SampleCases
from .stock import write_stock

PRECISIONS: dict[Format, tuple[Precision, ...]] = {
    "nnunet": ("float32",),
    "safetensors": ("float32",),
    "onnx": ("float32", "float16", "int8"),
    "openvino": ("float32", "float16", "bfloat16", "int8"),
}

_CHECKED_WINDOWS = 4
_PACKAGES: dict[Format, tuple[str, ...]] = {
    "nnunet": (),
    "safetensors": ("safetensors",),
    "onnx": ("onnx", "onnxscript"),
    "openvino": ("openvino", "onnx", "onnxscript"),
}


@dataclass(frozen=True)
class Exported:
    """What an export left.

    Attributes:
        folder: Where it is.
        files: Paths in it.
        description: What travels with it; none where only stock nnU-Net can predict with the model.
    """

    folder: Path
    files: list[str]
    description: ModelDescription | None

    @property
    def bytes(self) -> int:
        return sum((self.folder / file).stat().st_size for file in self.files)


def export_model(
    model: Path,
    *,
    format: str,
    precision: str = "float32",
    fold: str | None = None,
    out: Path | None = None,
    calibration: Path | None = None,
    labels: Path | None = None,
    tolerance: float = 0.001,
    progress: Callable[[int, int], None] | None = None,
) -> Exported:
    """Export one fold of a trained nnU-Net.

    ONNX, OpenVINO and safetensors are loaded again and compared with PyTorch, on windows of the `calibration` cases or
    of noise. A reduced precision is also measured on whole cases where there are any: INT8 on three of four, the
    others calibrate it (a single case does both); float16 and bfloat16 on all.

    Args:
        model: Its folder.
        format: `nnunet`, `onnx`, `openvino` or `safetensors`.
        precision: `float32`, or where the format has it `float16`, `bfloat16` or `int8`.
        fold: Default: the only one.
        out: Default: `exports/FORMAT-PRECISION-fold_X` in the model's folder.
        calibration: Folder of images in nnU-Net's layout; INT8 cannot do without.
        labels: Folder with their reference label maps; default: the float32 network's are the reference.
        tolerance: By how much a reduced precision may lower the mean Dice.
        progress: Called with the number of cases measured and of all.

    Raises:
        UserError: The model cannot be exported so, the place is taken, or the export does not compute what PyTorch
            computes; nothing is left of it then.
    """
    chosen, precise = _choose(format, precision)
    if (model / FILE_NAME).is_file():
        raise UserError(f"{model} is an export already; give the folder of the trained nnU-Net that it was made from.")
    _refuse_missing_cases(chosen, precise, calibration, labels)
    folder = ModelFolder.read(model)
    checkpoint_file = folder.checkpoint_file(fold or folder.only_fold())
    place = out or model / "exports" / f"{chosen}-{precise}-{checkpoint_file.parent.name}"
    _refuse_other_folder(place)
    if chosen == "nnunet":
        return _export_stock(folder, checkpoint_file, place)
    description = describe(folder, checkpoint_file).model_copy(update={"format": chosen, "precision": precise})
    samples = None if calibration is None else SampleCases.of(calibration, description)
    network = folder.network(checkpoint_file)
    description = _with_costs(description, network)
    with atomic_folder(place) as output:
        if chosen == "safetensors":
            from .safetensors import write_safetensors

            files = write_safetensors(folder, checkpoint_file, output)
        else:
            files = _write_network(deepcopy(network), description, output, samples)
        description = _finished(description, output, files)
        description.write(output)
        exported = load_model(output, device="cpu").backend
        reference = TorchBackend(network, device=torch.device("cpu"))
        agreement = _agreement(exported, reference, description, samples)
        check: dict[str, Any] = {"backend": exported.name, "device": exported.device, **agreement.as_json()}
        if samples is not None and precise != "float32":
            accuracy = measure_accuracy(
                exported, reference, samples.measured, description, labels=labels, progress=progress
            )
            refuse_fall(accuracy, precise, tolerance)
            check["accuracy"] = {"calibrated_on": [case.name for case in samples.calibrating], **accuracy.as_json()}
        description = description.model_copy(update={"check": check})
        description.write(output)
    return Exported(place, [*files, FILE_NAME], description)


def _choose(format: str, precision: str) -> tuple[Format, Precision]:
    if format not in PRECISIONS:
        raise UnknownName("format", format, PRECISIONS)
    if precision not in get_args(Precision):
        raise UnknownName("precision", precision, get_args(Precision))
    chosen: Format = format  # type: ignore[assignment]
    precise: Precision = precision  # type: ignore[assignment]
    if precise not in PRECISIONS[chosen]:
        others = [name for name, precisions in PRECISIONS.items() if precise in precisions]
        raise UserError(
            f"--format {chosen} has no {precise} (it has {', '.join(PRECISIONS[chosen])}); for {precise} use --format "
            f"{' or '.join(others)}."
        )
    return chosen, precise


def _refuse_other_folder(place: Path) -> None:
    if place.is_dir() and (not any(place.iterdir()) or (place / FILE_NAME).is_file()):
        return
    if place.exists():
        raise UserError(f"{place} is there already and is no export; choose another place with --out, or remove it.")


def _export_stock(folder: ModelFolder, checkpoint_file: Path, place: Path) -> Exported:
    try:
        description = describe(folder, checkpoint_file)
    except NotDescribable:
        description = None  # stock nnU-Net is all that it needs
    with atomic_folder(place) as output:
        files = write_stock(folder, checkpoint_file, output)
        if description is None:
            return Exported(place, files, None)
        description = _with_costs(description, folder.network(checkpoint_file))
        description = _finished(description, output, files)
        description.write(output)
    return Exported(place, [*files, FILE_NAME], description)


def _with_costs(description: ModelDescription, network: nn.Module) -> ModelDescription:
    cost = network_complexity(network, (1, len(description.channels), *description.patch_size))
    return description.model_copy(update={"parameters": cost.parameters, "flops_patch": cost.flops})


def _refuse_missing_cases(format: Format, precision: Precision, calibration: Path | None, labels: Path | None) -> None:
    if precision == "int8" and calibration is None:
        raise UserError(
            "INT8 has to be calibrated on images like those it will see: give a folder of them with --calibration, and "
            "their label maps with --labels."
        )
    if labels is not None and (calibration is None or precision == "float32"):
        raise UserError("--labels tells what a reduced --precision costs on the cases of --calibration: give both.")
    if calibration is not None and format == "nnunet":
        raise UserError("--format nnunet keeps the network as it is and has no use for --calibration.")


def _write_network(
    network: nn.Module, description: ModelDescription, output: Path, samples: SampleCases | None
) -> list[str]:
    from .onnx import FILE, Float16, write_onnx

    window = (len(description.channels), *description.patch_size)
    kind = description.format, description.precision
    if kind == ("onnx", "float32"):
        return write_onnx(network, output, window)
    if kind == ("onnx", "float16"):
        return write_onnx(Float16(network), output, window)
    with TemporaryDirectory(dir=output) as folder:
        write_onnx(network, Path(folder), window)
        file = Path(folder) / FILE
        if description.precision != "int8":
            from .openvino import write_openvino

            return write_openvino(file, output, float16=description.precision == "float16")
        from .int8 import quantize_onnx, quantize_openvino

        assert samples is not None
        quantize = quantize_onnx if description.format == "onnx" else quantize_openvino
        return quantize(file, output, samples.windows(description))


def _agreement(
    exported: Backend, reference: Backend, description: ModelDescription, samples: SampleCases | None
) -> Agreement:
    windows = noise(description) if samples is None else samples.windows(description, most=_CHECKED_WINDOWS)
    of = "noise" if samples is None else f"{len(windows)} windows of {_some_of(samples.shown)}"
    agreement = compare(exported, reference, windows, input=of, description=description)
    refuse_disagreement(agreement, description.precision)
    return agreement


def _some_of(cases: Sequence[InputCase]) -> str:
    return cases[0].name if len(cases) == 1 else f"{cases[0].name} and others"


def _finished(description: ModelDescription, output: Path, files: list[str]) -> ModelDescription:
    packages = [*_PACKAGES[description.format], *(["nncf"] if description.precision == "int8" else [])]
    return description.model_copy(
        update={
            "files": {file: digest(output / file) for file in files},
            "versions": {
                "python": platform.python_version(),
                **description.versions,
                **{package: version(package) for package in packages},
            },
        }
    )
