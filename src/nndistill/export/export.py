"""From a trained nnU-Net to an exported folder: written, checked, and only then put in its place."""

from __future__ import annotations

import platform
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from ..errors import UnknownName, UserError
from ..files import atomic_folder, digest, read_json
from ..nnunet.models.describe import NotDescribable
from ..nnunet.models.folds import checkpoints_of_folds
from ..nnunet.models.model_folder import ModelFolder
from ..runtime.backends.base import Backend
from ..runtime.backends.torch import TorchBackend
from ..runtime.cases import InputCase
from ..runtime.description import FILE_NAME, ModelDescription
from ..runtime.formats import FORMATS, PRECISIONS, ModelFormat, Precision
from ..runtime.loading import load_model
from .accuracy import measure_accuracy, refuse_fall
from .check import Agreement, compare_backends, noise, refuse_disagreement
from .job import ExportJob

_CHECKED_WINDOWS = 4


@dataclass(frozen=True)
class ExportedModel:
    """What an export wrote.

    Attributes:
        folder: Where it is.
        files: Paths in it.
        description: What travels with the network; `None` if only stock nnU-Net can predict with the model.
    """

    folder: Path
    files: list[str]
    description: ModelDescription | None

    @property
    def bytes(self) -> int:
        """Size of all files."""
        return sum((self.folder / file).stat().st_size for file in self.files)


def export_model(
    model: Path,
    *,
    format: str,
    precision: str = "float32",
    fold: str | Sequence[str] | None = None,
    out: Path | None = None,
    calibration: Path | None = None,
    labels: Path | None = None,
    tolerance: float = 0.001,
    progress: Callable[[int, int], None] | None = None,
) -> ExportedModel:
    """Export one fold of a trained nnU-Net, or several as one network that averages their logits.

    Every format but stock nnU-Net's is loaded again and compared with PyTorch, on windows of the `calibration` cases
    or of noise. A reduced precision is also measured on whole cases, if there are any: INT8 on three of four, the
    others calibrate it (a single case does both); float16 and bfloat16 on all.

    Args:
        model: Its folder.
        format: `nnunet`, `onnx`, `openvino` or `safetensors`.
        precision: `float32`, or if the format has it `float16`, `bfloat16` or `int8`.
        fold: One, or several. Default: the only one.
        out: Default: `exports/FORMAT-PRECISION-fold_X` in the model's folder, of several folds `…-folds_X_Y`.
        calibration: Folder of images in nnU-Net's layout; required for INT8.
        labels: Folder with their reference label maps; default: the float32 network's are the reference.
        tolerance: By how much a reduced precision may lower the mean Dice.
        progress: Called with the number of cases measured and of all.

    Raises:
        UserError: The model cannot be exported in this way, the place is taken, or the export does not compute what
            PyTorch computes; in each case nothing is kept.

    Example:
        >>> exported = export_model(student_folder, format="safetensors", out=output)
        >>> exported.files
        ['model.safetensors', 'plans.json', 'dataset.json', 'nndistill.json']
        >>> exported.description.check["differing_labels"]
        0.0
    """
    job = _choose(
        model, format=format, precision=precision, fold=fold, calibration=calibration, with_labels=labels is not None
    )
    named = ("fold_" if len(job.folds) == 1 else "folds_") + "_".join(job.folds)
    place = out or model / "exports" / f"{format}-{precision}-{named}"
    _refuse_other_folder(place)
    description = _describe(job)
    with atomic_folder(place) as output:
        files = job.format.write(job, output)
        if description is None:
            return ExportedModel(place, files, None)
        description = _with_files(description, job, output, files)
        description.write(output)
        if job.format.checked:
            exported = load_model(output, device="cpu").backend
            reference = TorchBackend(job.network, device=torch.device("cpu"))
            check = {
                "backend": exported.name,
                "device": exported.device,
                "precision": exported.precision,
                **_check(job, exported, reference).as_json(),
                **_measure(job, exported, reference, labels=labels, tolerance=tolerance, progress=progress),
            }
            description = description.model_copy(update={"check": check})
            description.write(output)
    return ExportedModel(place, [*files, FILE_NAME], description)


def _choose(
    model: Path,
    *,
    format: str,
    precision: str,
    fold: str | Sequence[str] | None,
    calibration: Path | None,
    with_labels: bool,
) -> ExportJob:
    """What is exported, and how; refuses what does not go together."""
    chosen, precise = _format_and_precision(format, precision)
    if (model / FILE_NAME).is_file():
        raise UserError(f"{model} is an export already; give the folder of the trained nnU-Net that it was made from.")
    if precise == "int8" and calibration is None:
        raise UserError(
            "INT8 has to be calibrated on images like those it will see: give a folder of them for calibration, and "
            "their label maps.",
            option=("calibration", "labels"),
        )
    if with_labels and (calibration is None or precise == "float32"):
        raise UserError(
            "labels show what a reduced precision costs on the calibration cases: give all three, or no labels.",
            option=("labels", "precision", "calibration"),
        )
    if calibration is not None and not chosen.checked:
        raise UserError(
            f"the format {chosen.name} keeps the network as it is and has no use for calibration cases.",
            option=("format", "calibration"),
        )
    folder = ModelFolder.read(model)
    return ExportJob(folder, checkpoints_of_folds(folder, fold), chosen, precise, calibration)


def _format_and_precision(format: str, precision: str) -> tuple[ModelFormat, Precision]:
    if format not in FORMATS:
        raise UnknownName("format", format, FORMATS, option="format")
    precise = next((name for name in PRECISIONS if name == precision), None)
    if precise is None:
        raise UnknownName("precision", precision, PRECISIONS, option="precision")
    chosen = FORMATS[format]
    if precise not in chosen.precisions:
        others = [kind.name for kind in FORMATS.values() if precise in kind.precisions]
        raise UserError(
            f"the format {chosen.name} has no {precise} (it has {', '.join(chosen.precisions)}); for {precise} use "
            f"{' or '.join(others)}.",
            option=("format", "precision"),
        )
    return chosen, precise


def _refuse_other_folder(place: Path) -> None:
    """Refuse a place whose replacement would delete anything but an earlier export."""
    if place.resolve() == Path.cwd():
        raise UserError(
            f"an export replaces its folder, and {place} is the current one: name a new folder.", option="out"
        )
    if not place.exists() or (place.is_dir() and not any(place.iterdir())):
        return
    if not (place / FILE_NAME).is_file():
        raise UserError(
            f"{place} exists already and is not an export; choose another place, or remove it.", option="out"
        )
    exported = {FILE_NAME, *read_json(place / FILE_NAME).get("files", {})}
    others = sorted(str(file.relative_to(place)) for file in place.rglob("*") if not file.is_dir())
    if kept := next((file for file in others if file not in exported), None):
        raise UserError(
            f"{place / kept} is no part of the export in {place}, which a new one replaces: move it elsewhere, or "
            "choose another place.",
            option="out",
        )


def _describe(job: ExportJob) -> ModelDescription | None:
    """The description; `None` if only stock nnU-Net can predict with the model, and that is what it is exported for."""
    try:
        description = job.description
    except NotDescribable:
        if job.format.checked:
            raise
        return None
    _ = job.samples  # a folder without cases is refused before anything is written
    return description


def _with_files(description: ModelDescription, job: ExportJob, output: Path, files: list[str]) -> ModelDescription:
    """Add digests of the written files, and versions of the packages that wrote them."""
    packages = [*job.format.packages, *(["nncf"] if job.precision == "int8" else [])]
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


def _check(job: ExportJob, exported: Backend, reference: Backend) -> Agreement:
    """Compare the export with PyTorch on a few windows."""
    if job.samples is None:
        windows, named = noise(job.description), "noise"
    else:
        windows = job.samples.windows(job.description, most=_CHECKED_WINDOWS)
        named = f"{len(windows)} windows of {_some_of(job.samples.shown)}"
    agreement = compare_backends(exported, reference, windows, input=named, description=job.description)
    refuse_disagreement(agreement, job.precision)
    return agreement


def _some_of(cases: Sequence[InputCase]) -> str:
    return cases[0].name if len(cases) == 1 else f"{cases[0].name} and others"


def _measure(
    job: ExportJob,
    exported: Backend,
    reference: Backend,
    *,
    labels: Path | None,
    tolerance: float,
    progress: Callable[[int, int], None] | None,
) -> dict[str, Any]:
    """What a reduced precision costs on whole cases, if there are any."""
    if job.samples is None or job.precision == "float32":
        return {}
    accuracy = measure_accuracy(
        exported, reference, job.samples.measured, job.description, labels=labels, progress=progress
    )
    refuse_fall(accuracy, job.precision, tolerance)
    calibrated_on = [case.name for case in job.samples.calibrating]
    return {"accuracy": {"calibrated_on": calibrated_on, **accuracy.as_json()}}
