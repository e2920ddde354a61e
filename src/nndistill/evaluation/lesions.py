"""Lesions found and missed: precision, recall and F1 of connected components instead of voxels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

Connectivity = Literal[6, 18, 26]

_ORDER: dict[Connectivity, int] = {6: 1, 18: 2, 26: 3}


@dataclass(frozen=True)
class LesionDetection:
    """Lesions of a case, counted.

    Args:
        reference: Lesions of the reference.
        predicted: Lesions of the prediction.
        found: Lesions of the reference that the prediction finds.
        right: Lesions of the prediction that are in the reference.
    """

    reference: int
    predicted: int
    found: int
    right: int

    @property
    def precision(self) -> float:
        """Share of the predicted lesions that are right; NaN if none is predicted."""
        return self.right / self.predicted if self.predicted else np.nan

    @property
    def recall(self) -> float:
        """Share of the reference's lesions that are found; NaN if there are none."""
        return self.found / self.reference if self.reference else np.nan

    @property
    def f1(self) -> float:
        """Harmonic mean of precision and recall; 0 if only one side has lesions, NaN if neither has."""
        if not self.reference and not self.predicted:
            return np.nan
        if not self.found or not self.right:
            return 0.0
        return 2 * self.precision * self.recall / (self.precision + self.recall)


def detect_lesions(
    reference: NDArray[np.bool_], prediction: NDArray[np.bool_], *, connectivity: Connectivity = 26, overlap: int = 1
) -> LesionDetection:
    """Match the connected components of two masks.

    A lesion is a connected component. One of the reference is found, and one of the prediction is right, when at least
    `overlap` of its voxels are in the other mask. Several may match one: a lesion predicted in two pieces is found, and
    both pieces are right.

    Args:
        reference: `(X, Y, Z)`.
        prediction: `(X, Y, Z)`.
        connectivity: Which neighbours of a voxel belong to its component: across faces (6), also edges (18), also
            corners (26).
        overlap: Number of common voxels that make a match.

    Example:
        >>> reference, prediction = np.zeros((2, 4, 4, 4), bool)
        >>> reference[0, 0, 0] = reference[3, 3, 3] = prediction[0, 0, 0] = True
        >>> detect_lesions(reference, prediction)
        LesionDetection(reference=2, predicted=1, found=1, right=1)
    """
    found, of_reference = _components_met(reference, prediction, connectivity, overlap)
    right, of_prediction = _components_met(prediction, reference, connectivity, overlap)
    return LesionDetection(reference=of_reference, predicted=of_prediction, found=found, right=right)


def _components_met(
    mask: NDArray[np.bool_], other: NDArray[np.bool_], connectivity: Connectivity, overlap: int
) -> tuple[int, int]:
    """How many components of a mask overlap with another mask, and how many there are."""
    neighbours = ndimage.generate_binary_structure(3, _ORDER[connectivity])
    components, number = ndimage.label(mask, neighbours)
    shared = np.bincount(components[other & mask], minlength=number + 1)
    return int(np.count_nonzero(shared[1:] >= overlap)), number
