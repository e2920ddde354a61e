"""From a trained nnU-Net to an exported folder: written, checked, and only then put in its place."""

from __future__ import annotations

import platform
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import get_args

import torch

from ...errors import UnknownName, UserError
from ...files import atomic_folder
from ...nnunet.model_folder import ModelFolder
from ..backends.torch import TorchBackend
from ..description import FILE_NAME, Format, ModelDescription, Precision, digest
from ..loading import load_model
from .check import compare, noise, refuse_disagreement
from .describe import NotDescribable, describe
from .stock import write_stock

PRECISIONS: dict[Format, tuple[Precision, ...]] = {
    "nnunet": ("float32",),
    "safetensors": ("float32",),
    "onnx": ("float32", "float16", "int8"),
    "openvino": ("float32", "float16", "bfloat16", "int8"),
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
) -> Exported:
    """Export one fold of a trained nnU-Net.

    Args:
        model: Its folder.
        format: `nnunet`, `onnx`, `openvino` or `safetensors`.
        precision: `float32`, or where the format has it `float16`, `bfloat16` or `int8`.
        fold: Default: the only one.
        out: Default: `exports/FORMAT-PRECISION-fold_X` in the model's folder.

    Raises:
        UserError: The model cannot be exported so, the place is taken, or the export does not compute what PyTorch
            computes; nothing is left of it then.
    """
    chosen, precise = _choose(format, precision)
    if (model / FILE_NAME).is_file():
        raise UserError(f"{model} is an export already; give the folder of the trained nnU-Net that it was made from.")
    folder = ModelFolder.read(model)
    checkpoint_file = folder.checkpoint_file(fold or folder.only_fold())
    place = out or model / "exports" / f"{chosen}-{precise}-{checkpoint_file.parent.name}"
    _refuse_other_folder(place)
    if chosen == "nnunet":
        return _export_stock(folder, checkpoint_file, place)
    description = describe(folder, checkpoint_file).model_copy(update={"format": chosen, "precision": precise})
    with atomic_folder(place) as output:
        files = _write_network(folder, checkpoint_file, description, output)
        description = _finished(description, output, files)
        description.write(output)
        description = _checked(description, folder, checkpoint_file, output)
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
        description = _finished(description, output, files)
        description.write(output)
    return Exported(place, [*files, FILE_NAME], description)


def _write_network(
    folder: ModelFolder, checkpoint_file: Path, description: ModelDescription, output: Path
) -> list[str]:
    if description.format == "safetensors":
        from .safetensors import write_safetensors

        return write_safetensors(folder, checkpoint_file, output)
    from .onnx import FILE, Float16, write_onnx

    network = folder.network(checkpoint_file)
    shape = (len(description.channels), *description.patch_size)
    if description.format == "onnx":
        return write_onnx(Float16(network) if description.precision == "float16" else network, output, shape)
    from .openvino import write_openvino

    with TemporaryDirectory(dir=output) as between:
        write_onnx(network, Path(between), shape)
        return write_openvino(Path(between) / FILE, output, float16=description.precision == "float16")


def _finished(description: ModelDescription, output: Path, files: list[str]) -> ModelDescription:
    used = {
        "onnx": ("onnx", "onnxscript"),
        "openvino": ("openvino", "onnx", "onnxscript"),
        "safetensors": ("safetensors",),
    }
    packages = used.get(description.format, ())
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


def _checked(
    description: ModelDescription, folder: ModelFolder, checkpoint_file: Path, output: Path
) -> ModelDescription:
    reference = TorchBackend(folder.network(checkpoint_file), device=torch.device("cpu"))
    exported = load_model(output, device="cpu").backend
    agreement = compare(exported, reference, noise(description), input="noise", description=description)
    refuse_disagreement(agreement, description.precision)
    return description.model_copy(update={"check": agreement.as_json()})
