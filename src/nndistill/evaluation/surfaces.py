"""Distances between the surfaces of two masks, and the metrics that follow from them: HD95 and NSD."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt
from scipy.spatial import cKDTree

from .surface_areas import surface_areas

Definition = Literal["surface_elements", "boundary_voxels"]
"""What a surface is made of: pieces of the surface between voxels, or the outermost voxels themselves."""

ROUNDING = 1e-6
"""Distances this close in mm count as equal: headers keep spacings in 32 bits, so 3 × 0.3 mm is not quite 0.9 mm."""

Mask = NDArray[np.bool_]
Numbers = NDArray[np.float64]


@dataclass(frozen=True)
class SurfaceDistances:
    """From every piece of each surface to the nearest piece of the other; both surfaces have at least one.

    Args:
        to_prediction: Distances in mm of the reference's pieces.
        to_reference: Distances in mm of the prediction's pieces.
        reference_areas: Weights of the reference's pieces: their areas, or ones for boundary voxels.
        predicted_areas: Weights of the prediction's pieces.
        definition: What the pieces are.
    """

    to_prediction: Numbers
    to_reference: Numbers
    reference_areas: Numbers
    predicted_areas: Numbers
    definition: Definition

    def hd95(self) -> float:
        """The larger of the two 95th percentiles of the distances.

        For surface elements, the percentile is the smallest distance that 95 % of the area does not exceed. For
        boundary voxels it is interpolated between two distances, as in `numpy.percentile`.
        """
        percentile = _weighted_percentile if self.definition == "surface_elements" else _plain_percentile
        return max(
            percentile(self.to_prediction, self.reference_areas), percentile(self.to_reference, self.predicted_areas)
        )

    def nsd(self, tolerance: float) -> float:
        """Normalised surface Dice: the share of both surfaces that is within `tolerance` mm of the other."""
        within = self.reference_areas[self.to_prediction <= tolerance + ROUNDING].sum()
        within += self.predicted_areas[self.to_reference <= tolerance + ROUNDING].sum()
        return float(within / (self.reference_areas.sum() + self.predicted_areas.sum()))


def surface_distances(
    reference: Mask, prediction: Mask, spacing: Sequence[float], *, definition: Definition = "surface_elements"
) -> SurfaceDistances:
    """Measure how far two surfaces are apart.

    Everything beyond the border of the volume is background, so a mask that touches the border has a surface there.

    Args:
        reference: `(X, Y, Z)`, not empty.
        prediction: `(X, Y, Z)`, not empty.
        spacing: Voxel size along the three axes in mm.
        definition: `surface_elements`: one piece per 2×2×2 neighbourhood that is neither empty nor full, at its centre,
            weighted by the area of the surface that crosses it. `boundary_voxels`: the voxels with one of their six
            neighbours outside the mask, each of weight one.

    Source:
        `surface_elements`: Nikolov et al., J. Med. Internet Res. 23, e26151 (2021), the definition of DeepMind's
        `surface-distance`; `boundary_voxels`: the definition of MONAI's metrics.
    """
    offsets, lengths = _nearest_offsets(spacing)
    margin = [(reach + 1, reach + 1) for reach in offsets.max(axis=0)]  # no offset leads out of the volume
    pieces = _surface_elements if definition == "surface_elements" else _boundary_voxels
    on_reference, reference_areas = pieces(np.pad(reference, margin), spacing)
    on_prediction, predicted_areas = pieces(np.pad(prediction, margin), spacing)
    return SurfaceDistances(
        to_prediction=_distances(on_reference, on_prediction, spacing, offsets, lengths),
        to_reference=_distances(on_prediction, on_reference, spacing, offsets, lengths),
        reference_areas=reference_areas,
        predicted_areas=predicted_areas,
        definition=definition,
    )


def _nearest_offsets(spacing: Sequence[float], number: int = 250) -> tuple[NDArray[np.int64], Numbers]:
    """About `number` steps from a voxel to its neighbours, `(n, 3)`, and their lengths in mm, the shortest first."""
    radius = (3 / (4 * np.pi) * number * np.prod(spacing)) ** (1 / 3)
    reach = [int(radius / step) for step in spacing]
    offsets = np.stack(np.meshgrid(*(np.arange(-n, n + 1) for n in reach), indexing="ij"), axis=-1).reshape(-1, 3)
    lengths = np.linalg.norm(offsets * np.asarray(spacing), axis=1)
    order = np.argsort(lengths, kind="stable")[: np.count_nonzero(lengths <= radius)]
    return offsets[order], lengths[order]


def _surface_elements(mask: Mask, spacing: Sequence[float]) -> tuple[Mask, Numbers]:
    codes: NDArray[Any] = mask.view(np.uint8)
    for axis, bits in enumerate((4, 2, 1)):  # as in `surface_areas.CORNERS`
        along = np.moveaxis(codes, axis, 0)
        codes = np.moveaxis(along[:-1] | along[1:] << bits, 0, axis)
    present = (codes != 0) & (codes != 255)
    return present, surface_areas(spacing)[codes[present]]


def _boundary_voxels(mask: Mask, spacing: Sequence[float]) -> tuple[Mask, Numbers]:
    inner = mask.copy()
    for axis in range(3):
        along, kept = np.moveaxis(mask, axis, 0), np.moveaxis(inner, axis, 0)
        kept[1:-1] &= along[:-2] & along[2:]
    present = mask & ~inner
    return present, np.ones(np.count_nonzero(present))


def _distances(
    origin: Mask, target: Mask, spacing: Sequence[float], offsets: NDArray[np.int64], lengths: Numbers
) -> Numbers:
    """Distance from each position in `origin` to the nearest in `target`: first among the offsets, then anywhere.

    Surfaces that are worth comparing are close to each other: a few short steps find most of the nearest positions,
    at a fraction of the cost.
    """
    places = np.flatnonzero(origin)
    distances = np.empty(len(places))
    left = np.arange(len(places))
    occupied = target.ravel()
    looked_up = 0
    _, height, depth = target.shape
    for step, length in zip(offsets @ (height * depth, depth, 1), lengths, strict=True):
        hit = occupied[places + step]
        distances[left[hit]] = length
        places, left = places[~hit], left[~hit]
        looked_up += len(places)
        if not len(places):
            return distances
        if looked_up > 30 * target.size:  # by now a sweep is cheaper than more steps
            break
    offset = _coordinates(places, origin.shape) - _nearest(places, target, spacing)
    # From whole numbers of voxels, so that equal offsets have equal distances everywhere in the volume.
    distances[left] = np.linalg.norm(offset * np.asarray(spacing), axis=1)
    return distances


def _nearest(places: NDArray[np.intp], target: Mask, spacing: Sequence[float]) -> NDArray[np.int64]:
    """Coordinates of the nearest position in `target`, `(n, 3)`: one sweep for many positions, a k-d tree for few."""
    if len(places) > target.size / 50:  # a far look-up in the tree costs about as much as fifty voxels of the sweep
        goals = distance_transform_edt(~target, sampling=spacing, return_distances=False, return_indices=True)
        return np.asarray(goals.reshape(3, -1)[:, places].T)
    goals = _coordinates(np.flatnonzero(target), target.shape)
    tree = cKDTree(goals * np.asarray(spacing), balanced_tree=False, compact_nodes=False)
    _, nearest = tree.query(_coordinates(places, target.shape) * np.asarray(spacing))
    return np.asarray(goals[nearest])


def _coordinates(places: NDArray[np.intp], shape: tuple[int, ...]) -> NDArray[np.int64]:
    return np.stack(np.unravel_index(places, shape), axis=1)


def _weighted_percentile(distances: Numbers, areas: Numbers) -> float:
    order = np.argsort(distances, kind="stable")
    within = np.cumsum(areas[order])
    reached = np.searchsorted(
        within, (0.95 - 1e-9) * within[-1]
    )  # exactly 95 % is enough, in whatever order the areas are added
    return float(distances[order][min(reached, len(order) - 1)])


def _plain_percentile(distances: Numbers, areas: Numbers) -> float:
    return float(np.percentile(distances, 95))
