"""Metrics of one case: a reference and a prediction, label by label."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from ..errors import UnknownName, UserError
from ..volumes.bounding_box import bounding_box
from .lesion_wise import REGIONS, LesionRules
from .lesions import detect_lesions
from .matched_lesions import MatchedLesions
from .surfaces import Definition, Mask, surface_distances

EmptyPolicy = Literal["diagonal", "leave_out"] | float
"""HD95 if one mask is empty: the image's diagonal, none, or a fixed number of mm."""

BothEmpty = Literal["leave_out", "one", "nsd_one"]
"""What counts if both masks are empty: nothing; Dice 1, NSD 1, HD95 0; or NSD 1 alone."""

LabelMap = NDArray[Any]

_NOTHING = np.s_[:0, :0, :0]

_BOTH_EMPTY: dict[BothEmpty, dict[str, float]] = {
    "leave_out": {"dice": np.nan, "hd95_mm": np.nan, "nsd": np.nan},
    "one": {"dice": 1.0, "hd95_mm": 0.0, "nsd": 1.0},
    "nsd_one": {"dice": np.nan, "hd95_mm": np.nan, "nsd": 1.0},
}
_NO_SURFACES = {"hd95_mm": np.nan, "nsd": np.nan}


@dataclass(frozen=True)
class Measures:
    """What is measured, and how.

    Args:
        labels: Values in the label maps, by the name of the class or region.
        tolerance: Tolerance of NSD in mm.
        definition: Definition of a surface.
        empty: HD95 if one mask is empty.
        both_empty: What counts if both masks are empty.
        lesions: Names of the labels whose lesions are counted as well.
        ignore: A value in the reference whose voxels do not count.
        distances: Whether HD95 and NSD are measured; they are NaN otherwise.
        lesion_rules: Rules by which Dice, HD95 and NSD are averaged over lesions; the labels are then BraTS's regions.
        protocol: Name of the protocol that these settings belong to.

    Raises:
        UserError: One of the values is not allowed.
    """

    labels: Mapping[str, Sequence[int]]
    tolerance: float = 1.0
    definition: Definition = "surface_elements"
    empty: EmptyPolicy = "diagonal"
    both_empty: BothEmpty = "leave_out"
    lesions: Sequence[str] = ()
    ignore: int | None = None
    distances: bool = True
    lesion_rules: LesionRules | MatchedLesions | None = None
    protocol: str = "default"

    def __post_init__(self) -> None:
        if not (np.isfinite(self.tolerance) and self.tolerance >= 0):
            raise UserError(
                f"the tolerance has to be a number of mm that is not negative, not {self.tolerance:g}.",
                option="tolerance",
            )
        if self.definition not in get_args(Definition):
            raise UnknownName("definition of surfaces", self.definition, get_args(Definition), option="definition")
        if isinstance(self.empty, str):
            if self.empty not in ("diagonal", "leave_out"):
                raise UnknownName(
                    "policy for empty masks", self.empty, ["diagonal", "leave_out", "a number of mm"], option="empty"
                )
        elif not (np.isfinite(self.empty) and self.empty >= 0):
            raise UserError(
                f"HD95 of an empty mask has to be a number of mm that is not negative, not {self.empty:g}.",
                option="empty",
            )
        if self.both_empty not in _BOTH_EMPTY:
            raise UnknownName("policy for two empty masks", self.both_empty, _BOTH_EMPTY, option="both_empty")
        if self.lesion_rules is not None and dict(self.labels) != REGIONS:
            raise UserError(
                f"the protocol {self.protocol} measures {', '.join(REGIONS)}, not {', '.join(self.labels)}.",
                option="protocol",
            )
        for name in self.lesions:
            if name not in self.labels:
                raise UnknownName("label", name, self.labels, option="lesions")


def case_metrics(
    reference: LabelMap, prediction: LabelMap, spacing: Sequence[float], measures: Measures
) -> dict[str, dict[str, float]]:
    r"""Compare a prediction with its reference.

    With $R$ and $P$ the voxels of a label in reference and prediction, Dice is $2|R\cap P|/(|R|+|P|)$; HD95 and NSD
    are those of `surface_distances`. If both are empty, all three are given by `measures.both_empty`. If one is empty,
    Dice and NSD are 0, and HD95 is given by `measures.empty`.

    Args:
        reference: Labels `(X, Y, Z)`.
        prediction: Labels `(X, Y, Z)`.
        spacing: Voxel size along the three axes in mm.
        measures: What to measure.

    Returns:
        By label: `dice`, `hd95_mm`, `nsd`, `reference_voxels`, `predicted_voxels`, `reference_ml` and
        `predicted_ml`; for the labels in `measures.lesions` also `reference_lesions`, `predicted_lesions`,
        `lesion_precision`, `lesion_recall` and `lesion_f1`. With lesion rules, `dice`, `hd95_mm` and `nsd` are those
        of `lesion_wise_metrics`, with its counts, and those of the whole masks are `whole_dice`, `whole_hd95_mm` and
        `whole_nsd`.

    Example:
        >>> reference = np.zeros((8, 8, 8), np.uint8)
        >>> reference[2:6, 2:6, 2:6] = 1
        >>> prediction = np.roll(reference, 1, axis=0)
        >>> metrics = case_metrics(reference, prediction, (1.0, 1.0, 1.0), Measures({"tumour": [1]}))
        >>> metrics["tumour"]["dice"], metrics["tumour"]["hd95_mm"]
        (0.75, 1.0)
    """
    diagonal = float(np.linalg.norm(np.multiply(reference.shape, spacing)))
    if measures.ignore is not None:
        counted = reference != measures.ignore
        reference, prediction = reference * counted, prediction * counted
    box = bounding_box((reference != 0) | (prediction != 0)) or _NOTHING
    reference, prediction = np.ascontiguousarray(reference[box]), np.ascontiguousarray(prediction[box])
    metrics = {}
    for name, values in measures.labels.items():
        masks = _mask(reference, values), _mask(prediction, values)
        close = bounding_box(masks[0] | masks[1]) or _NOTHING
        cropped = masks[0][close], masks[1][close]
        metrics[name] = _overlap(*cropped, spacing)
        if close is _NOTHING:
            metrics[name] |= _BOTH_EMPTY[measures.both_empty] | ({} if measures.distances else _NO_SURFACES)
        else:
            metrics[name] |= _surfaces(*cropped, spacing, diagonal, measures)
        if name in measures.lesions:
            metrics[name] |= _lesions(*cropped)
    if measures.lesion_rules is not None:
        of_lesions = measures.lesion_rules.measure(reference, prediction, spacing, tolerance=measures.tolerance)
        for name, whole in metrics.items():
            whole |= {f"whole_{column}": whole[column] for column in ("dice", "hd95_mm", "nsd")} | of_lesions[name]
    return metrics


def dice(reference: Mask, prediction: Mask) -> float:
    """Dice of two masks, from 0 to 1; NaN if both are empty."""
    total = int(np.count_nonzero(reference)) + int(np.count_nonzero(prediction))
    return 2 * int(np.count_nonzero(reference & prediction)) / total if total else float("nan")


def _mask(labels: LabelMap, values: Sequence[int]) -> Mask:
    mask: Mask = labels == values[0]
    for value in values[1:]:
        mask |= labels == value
    return mask


def _overlap(reference: Mask, prediction: Mask, spacing: Sequence[float]) -> dict[str, float]:
    voxels = int(np.count_nonzero(reference)), int(np.count_nonzero(prediction))
    millilitres = float(np.prod(spacing)) / 1000
    return {
        "dice": dice(reference, prediction),
        "reference_voxels": voxels[0],
        "predicted_voxels": voxels[1],
        "reference_ml": voxels[0] * millilitres,
        "predicted_ml": voxels[1] * millilitres,
    }


def _surfaces(
    reference: Mask, prediction: Mask, spacing: Sequence[float], diagonal: float, measures: Measures
) -> dict[str, float]:
    if not measures.distances:
        return _NO_SURFACES
    if reference.any() and prediction.any():
        distances = surface_distances(reference, prediction, spacing, definition=measures.definition)
        return {"hd95_mm": distances.hd95(), "nsd": distances.nsd(measures.tolerance)}
    if measures.empty == "diagonal":
        return {"hd95_mm": diagonal, "nsd": 0.0}
    return {"hd95_mm": np.nan if measures.empty == "leave_out" else measures.empty, "nsd": 0.0}


def _lesions(reference: Mask, prediction: Mask) -> dict[str, float]:
    found = detect_lesions(reference, prediction)
    return {
        "reference_lesions": found.reference,
        "predicted_lesions": found.predicted,
        "lesion_precision": found.precision,
        "lesion_recall": found.recall,
        "lesion_f1": found.f1,
    }
