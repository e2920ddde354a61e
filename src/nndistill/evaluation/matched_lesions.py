"""Metrics of matched lesions, as BraTS has had them since 2026: one lesion with one, and means over the pairs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.optimize import linear_sum_assignment

from .lesion_wise import REGIONS, share_within
from .surfaces import Mask, surface_distances

_26 = ndimage.generate_binary_structure(3, 3)


@dataclass(frozen=True)
class MatchedLesions:
    r"""Lesions of reference and prediction matched one to one, so that the sum of their Dice is largest.

    A lesion is a connected component of 26 neighbours; none is too small. Dice, HD95 and NSD are means over the matched
    pairs: lesions that are missed or false are counted and cost nothing, unless no pair is left, for which Dice and NSD
    are 0 and HD95 is the penalty. Without any lesion all three are NaN.

    HD95 is the 95th percentile of the distances of both surfaces together, NSD the mean of the two shares, both of
    boundary voxels.

    Args:
        penalty: HD95 in mm if no lesion is matched; the challenge's program has infinity there.

    Source:
        Rules of the program `brats-evaluation` 0.0.10, observed from outside and written anew.
    """

    penalty: float

    def measure(
        self, reference: NDArray[Any], prediction: NDArray[Any], spacing: Sequence[float], *, tolerance: float
    ) -> dict[str, dict[str, float]]:
        """Measure every region of BraTS: see `nndistill.evaluation.lesion_wise.lesion_wise_metrics`."""
        return {
            region: self._score(np.isin(reference, values), np.isin(prediction, values), spacing, tolerance)
            for region, values in REGIONS.items()
        }

    def _score(self, reference: Mask, prediction: Mask, spacing: Sequence[float], tolerance: float) -> dict[str, float]:
        expected, missed = ndimage.label(reference, _26)
        predicted, false = ndimage.label(prediction, _26)
        pairs = _matched(expected, predicted)
        found = {
            "lesions_found": len(pairs),
            "lesions_missed": missed - len(pairs),
            "lesions_false": false - len(pairs),
        }
        if not pairs:
            nothing = not missed and not false
            zero, far = (np.nan, np.nan) if nothing else (0.0, self.penalty)
            return {"dice": zero, "hd95_mm": far, "nsd": zero} | found
        scores = [_compare(expected == g, predicted == p, spacing, tolerance) for g, p in pairs]
        dice, hd95, nsd = (float(mean) for mean in np.mean(scores, axis=0))
        return {"dice": dice, "hd95_mm": hd95, "nsd": nsd} | found


def _matched(expected: NDArray[np.int64], predicted: NDArray[np.int64]) -> list[tuple[int, int]]:
    """The pairs of lesions with the largest sum of Dice; only lesions that overlap are paired."""
    sizes = np.bincount(expected.ravel()), np.bincount(predicted.ravel())
    both = (expected > 0) & (predicted > 0)
    shared = np.zeros((len(sizes[0]), len(sizes[1])))
    np.add.at(shared, (expected[both], predicted[both]), 1)
    dice = 2 * shared[1:, 1:] / (sizes[0][1:, None] + sizes[1][1:])
    return [(int(g) + 1, int(p) + 1) for g, p in zip(*linear_sum_assignment(-dice), strict=True) if dice[g, p] > 0]


def _compare(
    reference: Mask, prediction: Mask, spacing: Sequence[float], tolerance: float
) -> tuple[float, float, float]:
    box = ndimage.find_objects((reference | prediction).astype(np.uint8))[0]
    reference, prediction = np.ascontiguousarray(reference[box]), np.ascontiguousarray(prediction[box])
    dice = 2 * int((reference & prediction).sum()) / (int(reference.sum()) + int(prediction.sum()))
    voxels = surface_distances(reference, prediction, spacing, definition="boundary_voxels")
    pooled = np.concatenate([voxels.to_prediction, voxels.to_reference])
    return dice, float(np.percentile(pooled, 95)), share_within(voxels, tolerance)
