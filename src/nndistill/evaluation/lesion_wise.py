"""Lesion-wise Dice, HD95 and NSD of BraTS: every lesion counts alike, and so does every false one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from .surfaces import ROUNDING, Mask, SurfaceDistances, surface_distances

Lesions = NDArray[np.int64]
"""Number of the lesion that a voxel belongs to; 0 outside."""

REGIONS = {"WT": (1, 2, 3), "TC": (1, 3), "NETC": (1,), "SNFH": (2,), "ET": (3,), "RC": (4,)}
"""What BraTS 2024 scores of gliomas after treatment: the resection cavity belongs to neither WT nor TC."""

PARTNERS = {"NETC": ("ET", "RC"), "ET": ("NETC", "RC"), "RC": ("ET", "NETC"), "SNFH": ("ET", "RC", "NETC")}
"""Lesions of a tissue that touch one lesion of a partner are one lesion; partners take their turns in this order."""

_18, _26 = ndimage.generate_binary_structure(3, 2), ndimage.generate_binary_structure(3, 3)
_STEPS = [step for step in product((-1, 0, 1), repeat=3) if 0 < np.abs(step).sum() < 3]


@dataclass(frozen=True)
class LesionRules:
    """When lesions are one, when they count, and what a false one costs.

    Args:
        dilation: Steps of 18-neighbours by which masks grow before their components are taken, by region: lesions
            closer than about twice as many voxels are one. In voxels, whatever the spacing.
        smallest: Lesions of the reference of at most this many mm³ do not count, by region.
        penalty: HD95 in mm of a lesion that is missed, and of one that is false.
        grows_predictions: Whether predicted lesions are joined like those of the reference, and dropped if they have
            no more than `smallest` voxels; otherwise they are plain components, and every one counts.
    """

    dilation: Mapping[str, int]
    smallest: Mapping[str, float]
    penalty: float
    grows_predictions: bool

    def measure(
        self, reference: NDArray[Any], prediction: NDArray[Any], spacing: Sequence[float], *, tolerance: float
    ) -> dict[str, dict[str, float]]:
        """Measure every region of BraTS: see `lesion_wise_metrics`."""
        return lesion_wise_metrics(reference, prediction, spacing, self, tolerance=tolerance)


def lesion_wise_metrics(
    reference: NDArray[Any],
    prediction: NDArray[Any],
    spacing: Sequence[float],
    rules: LesionRules,
    *,
    tolerance: float = 1.0,
) -> dict[str, dict[str, float]]:
    r"""Measure every lesion of the BraTS regions, and average over lesions.

    A lesion $g$ of the reference is compared with the union $Q(g)$ of all predicted lesions that have a voxel within
    its dilation. With $L$ the lesions of the reference that are large enough and $F$ the number of predicted lesions
    that belong to none,

    $$\text{Dice}=\frac{\sum_{g\in L}\text{Dice}(Q(g),g)}{|L|+F},\qquad
    \text{HD95}=\frac{\sum_{g\in L}\text{HD95}(Q(g),g)+\text{penalty}\cdot F}{|L|+F},$$

    and NSD like Dice; a missed lesion has 0, 0 and the penalty. If $|L|+F=0$, Dice and NSD are 1 and HD95 is 0. HD95 is
    that of `surface_elements`; NSD is the mean of the two shares of boundary voxels within the tolerance.

    Args:
        reference: Labels `(X, Y, Z)`: 1 NETC, 2 SNFH, 3 ET, 4 RC.
        prediction: Labels `(X, Y, Z)`.
        spacing: Voxel size along the three axes in mm.
        rules: The rules of a year.
        tolerance: Tolerance of NSD in mm.

    Returns:
        By region: `dice`, `hd95_mm`, `nsd`, and the number of lesions `lesions_found`, `lesions_missed`,
        `lesions_false`.

    Source:
        Rules of the organisers' repository BraTS-2024-Metrics (`metrics_GLI.py`), written anew from its description.

    Example:
        >>> from nndistill.evaluation.protocols import protocol
        >>> reference = np.zeros((24, 24, 24), np.uint8)
        >>> reference[2:8, 2:8, 2:8] = reference[16:22, 16:22, 16:22] = 3
        >>> prediction = reference.copy()
        >>> prediction[16:22] = 0
        >>> found = lesion_wise_metrics(reference, prediction, (1.0, 1.0, 1.0), protocol("brats2024").lesion_rules)
        >>> found["ET"]["dice"], found["ET"]["hd95_mm"]
        (0.5, 187.0)
    """
    masks = {region: (np.isin(reference, v), np.isin(prediction, v)) for region, v in REGIONS.items()}
    expected = {region: _grown_components(masks[region][0], rules.dilation[region]) for region in REGIONS}
    if rules.grows_predictions:
        predicted = {
            region: _without_small(_grown_components(masks[region][1], rules.dilation[region]), rules.smallest[region])
            for region in REGIONS
        }
        predicted = _merged_across_tissues(predicted)
    else:
        predicted = {region: ndimage.label(masks[region][1], _26)[0] for region in REGIONS}
    expected = _merged_across_tissues(expected)
    return {
        region: _score(expected[region], predicted[region], spacing, rules, region, tolerance) for region in REGIONS
    }


def share_within(voxels: SurfaceDistances, tolerance: float) -> float:
    """The mean of both surfaces' shares of boundary voxels within the tolerance; `SurfaceDistances.nsd` pools them."""
    return sum(float((d <= tolerance + ROUNDING).mean()) for d in (voxels.to_prediction, voxels.to_reference)) / 2


def _grown_components(mask: Mask, steps: int) -> Lesions:
    """The components of the dilated mask, without the voxels that the dilation added."""
    if not mask.any():
        return np.zeros(mask.shape, np.int64)
    components, _ = ndimage.label(ndimage.binary_dilation(mask, _18, iterations=steps), _26)
    return np.where(mask, components, 0)


def _without_small(lesions: Lesions, smallest: float) -> Lesions:
    sizes = np.bincount(lesions.ravel())
    return np.where(sizes[lesions] > smallest, lesions, 0)


def _merged_across_tissues(lesions: Mapping[str, Lesions]) -> dict[str, Lesions]:
    merged = dict(lesions)
    for tissue, partners in PARTNERS.items():
        for partner in partners:
            merged[tissue] = _merged(merged[tissue], lesions[partner])
    return merged


def _merged(lesions: Lesions, partner: Lesions) -> Lesions:
    """Make one lesion of those whose first partner is the same; a single touching pair changes nothing."""
    pairs = _touching(lesions, partner)
    if len(pairs) < 2:
        return lesions
    first: dict[int, int] = {}
    for lesion, other in sorted(pairs):
        first.setdefault(lesion, other)
    leader: dict[int, int] = {}
    for lesion, other in first.items():
        leader.setdefault(other, lesion)
    numbers = np.arange(int(lesions.max()) + 1)
    for lesion, other in first.items():
        numbers[lesion] = leader[other]
    return numbers[lesions]


def _touching(lesions: Lesions, partner: Lesions) -> set[tuple[int, int]]:
    """The pairs of lesions of two tissues that are one step of 18-neighbours apart."""
    padded = np.pad(partner, 1)
    pairs: set[tuple[int, int]] = set()
    for step in _STEPS:
        moved = padded[tuple(slice(1 + s, 1 + s + size) for s, size in zip(step, lesions.shape, strict=True))]
        both = (lesions > 0) & (moved > 0)
        pairs |= set(zip(lesions[both].tolist(), moved[both].tolist(), strict=True))
    return pairs


def _score(
    expected: Lesions, predicted: Lesions, spacing: Sequence[float], rules: LesionRules, region: str, tolerance: float
) -> dict[str, float]:
    millimetres = float(np.prod(spacing))
    matched: set[int] = set()
    scores: list[tuple[float, float, float]] = []
    missed = 0
    for lesion in _numbers(expected):
        mask = expected == lesion
        near = ndimage.binary_dilation(mask, _18, iterations=rules.dilation[region])
        hits = _numbers(predicted[near])
        matched.update(hits)
        if int(mask.sum()) * millimetres <= rules.smallest[region]:
            continue
        if hits:
            scores.append(_compare(mask, np.isin(predicted, hits), spacing, tolerance))
        else:
            missed += 1
            scores.append((0.0, rules.penalty, 0.0))
    false = len(set(_numbers(predicted)) - matched)
    counted = len(scores) + false
    dice, hd95, nsd = np.sum(scores, axis=0) if scores else np.zeros(3)
    return {
        "dice": float(dice / counted) if counted else 1.0,
        "hd95_mm": float((hd95 + rules.penalty * false) / counted) if counted else 0.0,
        "nsd": float(nsd / counted) if counted else 1.0,
        "lesions_found": len(scores) - missed,
        "lesions_missed": missed,
        "lesions_false": false,
    }


def _numbers(lesions: NDArray[Any]) -> list[int]:
    return [int(number) for number in np.unique(lesions) if number]


def _compare(
    reference: Mask, prediction: Mask, spacing: Sequence[float], tolerance: float
) -> tuple[float, float, float]:
    box = ndimage.find_objects((reference | prediction).astype(np.uint8))[0]
    reference, prediction = np.ascontiguousarray(reference[box]), np.ascontiguousarray(prediction[box])
    dice = 2 * int((reference & prediction).sum()) / (int(reference.sum()) + int(prediction.sum()))
    hd95 = surface_distances(reference, prediction, spacing).hd95()
    voxels = surface_distances(reference, prediction, spacing, definition="boundary_voxels")
    return dice, hd95, share_within(voxels, tolerance)
