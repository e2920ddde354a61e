"""What a reduced precision costs on whole cases: Dice of every label before and after."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import SimpleITK

from ..errors import UserError
from ..evaluation.case import dice
from ..evaluation.dataset_labels import ignored_value, label_values
from ..runtime.backends.base import Backend
from ..runtime.cases import InputCase, channel_files
from ..runtime.description import ModelDescription
from ..runtime.formats import Precision
from ..runtime.image import Geometry, Image, grid_of, read_image
from ..runtime.postprocessing import labels_of
from ..runtime.preprocessing import Preprocessed, preprocess
from ..runtime.sliding_window import predict_logits
from ..volumes.grid import check_same_grid
from ..volumes.label_values import whole_numbers

LabelMap = npt.NDArray[Any]


@dataclass(frozen=True)
class Accuracy:
    """Dice in float32 and in the reduced precision, without mirroring, which evens out what the precision costs.

    Attributes:
        against: `"labels"`, the user's references, or `"float32"`, in which case Dice before is 1.
        cases: Names of the measured cases.
        before, after: Mean Dice of every label over the cases whose reference has it. A label that is predicted in a
            case without it only shows in `differing_voxels`.
        differing_voxels: Share of voxels that get another label.
    """

    against: str
    cases: list[str]
    before: dict[str, float]
    after: dict[str, float]
    differing_voxels: float

    @property
    def fall(self) -> float:
        """By how much the mean Dice over labels falls; negative if it rises, NaN if no case has a label."""
        if not self.before:
            return float("nan")
        return float(np.mean(list(self.before.values())) - np.mean(list(self.after.values())))

    def as_json(self) -> dict[str, Any]:
        return {
            "against": self.against,
            "cases": self.cases,
            "dice_float32": self.before,
            "dice": self.after,
            "dice_fall": self.fall,
            "differing_voxels": self.differing_voxels,
        }


def measure_accuracy(
    reduced: Backend,
    float32: Backend,
    cases: Sequence[InputCase],
    description: ModelDescription,
    *,
    labels: Path | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Accuracy:
    """Predict cases with both networks and compare the label maps.

    Args:
        reduced: The network in the reduced precision.
        float32: The same in float32.
        cases: At least one.
        description: The model's.
        labels: Folder with the cases' reference label maps; default: the float32 network's are the reference.
        progress: Called with the number of finished cases and of all.

    Raises:
        UserError: A case cannot be predicted, or its reference is missing or on another grid.
    """
    dataset = {"labels": description.labels}
    values = label_values(dataset, regions=description.regions_class_order is not None)
    ignored = ignored_value(dataset)
    pairs: dict[str, list[tuple[float, float]]] = {name: [] for name in values}
    differing = []
    for done, case in enumerate(cases):
        if progress:
            progress(done, len(cases))
        preprocessed, given = _read(case, labels, description)
        before, after = _predictions(preprocessed, (float32, reduced), description)
        reference = before if given is None else given
        counted = np.full(reference.shape, True) if ignored is None else reference != ignored
        for name, of_label in values.items():
            wanted, mine, theirs = (np.isin(found, of_label) & counted for found in (reference, before, after))
            if wanted.any():
                pairs[name].append((dice(wanted, mine), dice(wanted, theirs)))
        differing.append(float((before != after).mean()))
    if progress:
        progress(len(cases), len(cases))
    means = {name: np.mean(of_label, axis=0) for name, of_label in pairs.items() if of_label}
    return Accuracy(
        against="float32" if labels is None else "labels",
        cases=[case.name for case in cases],
        before={name: float(pair[0]) for name, pair in means.items()},
        after={name: float(pair[1]) for name, pair in means.items()},
        differing_voxels=float(np.mean(differing)),
    )


def refuse_fall(accuracy: Accuracy, precision: Precision, tolerance: float) -> None:
    """Refuse a network whose mean Dice falls by more than is tolerated, or is not known.

    Raises:
        UserError: It does, or no measured case has a label.
    """
    if not accuracy.before:
        empty = "reference" if accuracy.against == "labels" else "prediction of the float32 network"
        raise UserError(
            f"what {precision} costs cannot be measured: no {empty} of the measured cases "
            f"({', '.join(accuracy.cases)}) contains a label. Nothing was exported. "
            "Calibrate and measure on cases that contain labels.",
            option=("calibration", "labels"),
        )
    if accuracy.fall <= tolerance:
        return
    listed = ", ".join(f"{name} {accuracy.before[name]:.4f} → {accuracy.after[name]:.4f}" for name in accuracy.before)
    advice = (
        "Take a precision nearer to float32, calibrate on more cases, or tolerate more."
        if accuracy.against == "labels"
        else "This counts every voxel that differs from float32; give reference labels to see what they cost."
    )
    raise UserError(
        f"{precision} costs {accuracy.fall:.4f} of mean Dice on {len(accuracy.cases)} cases ({listed}), more than "
        f"the tolerance of {tolerance:g}. Nothing was exported. {advice}",
        option=("precision", "calibration", "labels", "tolerance"),
    )


def _read(case: InputCase, labels: Path | None, description: ModelDescription) -> tuple[Preprocessed, LabelMap | None]:
    """A case as prediction reads it, and its reference in the same orientation if there are labels."""
    image = read_image(channel_files(case, description), description)
    reference = None if labels is None else _reference(labels, case, image, description)
    return preprocess(image, description), reference


def _predictions(
    preprocessed: Preprocessed, networks: Sequence[Backend], description: ModelDescription
) -> list[LabelMap]:
    return [
        labels_of(predict_logits(preprocessed, network, description, mirror=False), preprocessed, description)
        for network in networks
    ]


def _reference(folder: Path, case: InputCase, image: Image, description: ModelDescription) -> LabelMap:
    file = folder / f"{case.name}{description.file_ending}"
    if not file.is_file():
        raise UserError(
            f"{file}, the reference of case {case.name}, is missing; give another folder of labels, or none.",
            option="labels",
        )
    try:
        stored = SimpleITK.ReadImage(str(file))
        if description.reorient_to:
            stored = SimpleITK.DICOMOrient(stored, description.reorient_to)
    except RuntimeError as error:
        raise UserError(f"{file} cannot be read as a label map.") from error
    reference: LabelMap = SimpleITK.GetArrayFromImage(stored)
    if reference.shape != (shape := image.array.shape[1:]):
        raise UserError(f"{file} has {reference.shape} voxels, but the image of case {case.name} has {shape}.")
    place = Geometry(stored.GetSize(), stored.GetSpacing(), stored.GetOrigin(), stored.GetDirection())
    check_same_grid(grid_of(file, place), grid_of(image.files[0], image.geometry))
    return whole_numbers(reference, file)
