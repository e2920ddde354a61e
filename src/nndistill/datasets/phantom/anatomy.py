"""A healthy head: folded cortex, white matter, deep grey matter, ventricles, cerebellum and brainstem, as level sets.

Positions are millimetres of an adult head: x to the right, y to the front, z up, the origin between the ventricles.
A level set is below zero inside its structure and close to the distance from its surface in mm.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import IntEnum
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .lattice import Field

Real = NDArray[np.floating[Any]]

HEAD_MM = (144.0, 178.0, 144.0)
"""Field of view that an adult head needs along x, y and z."""

LATERAL_VENTRICLE = [(8, 34, 2, 3), (7, 20, 11, 5), (8, 0, 17, 5), (14, -20, 17, 5), (24, -34, 8, 7), (21, -52, 4, 2)]
TEMPORAL_HORN = [(24, -34, 6, 5), (31, -18, -12, 3), (29, -2, -18, 2)]
CAUDATE = [(14, 26, 5, 5), (16, 8, 15, 4), (19, -12, 17, 2.5)]
BRAINSTEM = [(0, -16, -6, 11), (0, -20, -28, 13), (0, -27, -62, 8)]


class Tissue(IntEnum):
    """What a point of the phantom is made of."""

    AIR = 0
    CSF = 1
    GREY = 2
    WHITE = 3
    DEEP_GREY = 4
    VESSEL = 5
    NECROSIS = 6
    OEDEMA = 7
    ENHANCING = 8
    CAVITY = 9


def draw_anatomy(rng: np.random.Generator, x: Field, y: Field, z: Field, step: Sequence[float]) -> dict[str, Field]:
    """Draw the level sets of one random head at the given points.

    Args:
        rng: Source of all differences between heads.
        x: Positions to the right, in mm of an adult head, `(X, Y, Z)`.
        y: Positions to the front, likewise.
        z: Positions upwards, likewise.
        step: Distance between neighbouring points along each axis, in mm.

    Returns:
        Level sets in mm, each `(X, Y, Z)`, for `tissues`.
    """
    age = rng.uniform()  # widens sulci and ventricles
    side = np.abs(x)
    base = np.where(z > 8, np.float32(57), np.float32(38))  # flat underneath
    cerebrum = _smooth_min(
        _ellipsoid(x, y, z, (0, 0, 8), (66, 83, base)),
        _ellipsoid(side, y, z, (42, 8, -22), (23, 40, 19)),
        width=5,
    )

    right, front, up = x / 66, y / 83, (z - 8) / base
    # sulci run inwards, nearly along the radius
    outwards = 68 * (np.sqrt(right**2 + front**2 + up**2) + 0.02) ** -0.9
    folds = _waves(rng, outwards * right, outwards * front, outwards * up, wavelength=18)
    bumps = _waves(rng, x, y, z, wavelength=60)

    ventricles = np.minimum.reduce(
        [
            _tube(side, y, z, LATERAL_VENTRICLE) - 3 * (age - 0.3),
            _tube(side, y, z, TEMPORAL_HORN) - (age - 0.3),
            _ellipsoid(x, y, z, (0, -8, -2), (1.5 + 2 * age, 13, 9)),
            _ellipsoid(x, y, z, (0, -37, -40), (6, 5, 8)),
        ]
    )
    deep_grey = np.minimum.reduce(
        [
            _ellipsoid(side, y, z, (10, -12, 4), (7, 14, 8)),
            _ellipsoid(side, y, z, (25, 4, 2), (6, 17, 9)),
            _tube(side, y, z, CAUDATE),
        ]
    )
    return {
        "cerebrum": cerebrum,
        "sulcus": _sheets(folds, 18, step),
        "sulcus_end": -cerebrum - (17 + 6 * bumps),
        "midline": x + bumps,
        "callosum": _ellipsoid(x, y, z, (0, -4, 4), (40, 46, 24)),
        "ventricles": ventricles,
        "deep_grey": deep_grey,
        "cerebellum": _ellipsoid(side, y, z, (17, -50, -36), (33, 31, 24)),
        "folia": _sheets(_waves(rng, 0.3 * x, 0.6 * y, z - 0.5 * y, wavelength=10), 10, step),
        "brainstem": _tube(x, y, z, BRAINSTEM),
        "vessel": _sheets(_waves(rng, x, y, z, wavelength=28), 28, step),
        "fluid": np.full_like(x, 0.4 + 0.7 * age),
    }


def tissues(level: Mapping[str, Field]) -> NDArray[np.uint8]:
    """Decide which tissue each point is made of.

    Args:
        level: The level sets of `draw_anatomy` at any points, of one shape.

    Returns:
        Values of `Tissue`, in the same shape.
    """
    depth = -level["cerebrum"]
    sulcus = np.hypot(level["sulcus"], np.maximum(level["sulcus_end"], 0))
    fissure = np.hypot(level["midline"], np.maximum(-level["callosum"], 0))
    pial = _smooth_min(_smooth_min(depth, sulcus, width=3), fissure, width=2)
    fluid = level["fluid"] + 1.2 * np.exp(np.minimum(-depth, 0) / 5)  # sulci open towards the surface
    foliar = np.minimum(-level["cerebellum"], np.abs(level["folia"]) + np.maximum(-level["cerebellum"] - 10, 0))

    tissue = np.zeros(depth.shape, np.uint8)
    hull = _smooth_min(_smooth_min(-depth, level["cerebellum"], width=16), level["brainstem"], width=8)
    tissue[hull < 0.5] = Tissue.CSF
    tissue[foliar > 0.3] = Tissue.GREY
    tissue[foliar > 2.0] = Tissue.WHITE
    tissue[depth > 0] = Tissue.CSF
    tissue[(depth > 0) & (np.hypot(level["vessel"], sulcus) < 0.9)] = Tissue.VESSEL
    tissue[pial > fluid] = Tissue.GREY
    tissue[pial > fluid + 3.0] = Tissue.WHITE
    tissue[level["brainstem"] < 0] = Tissue.WHITE
    tissue[(level["deep_grey"] < 0) & (depth > 0)] = Tissue.DEEP_GREY
    tissue[level["ventricles"] < 0] = Tissue.CSF
    return tissue


def _ellipsoid(x: Field, y: Field, z: Field, centre: Sequence[float], radii: Sequence[float | Field]) -> Field:
    offset = (x - centre[0], y - centre[1], z - centre[2])
    once = np.sqrt(sum((p / r) ** 2 for p, r in zip(offset, radii, strict=True)))
    twice = np.sqrt(sum((p / r**2) ** 2 for p, r in zip(offset, radii, strict=True)))
    distance: Field = (once * (once - 1) / (twice + 1e-4)).astype(np.float32)  # exact to first order at the surface
    return distance


def _tube(x: Field, y: Field, z: Field, course: Sequence[Sequence[float]]) -> Field:
    """Around straight pieces between points `(x, y, z, radius)`."""
    distance = np.full_like(x, np.inf)
    for (*start, first), (*end, last) in pairwise(course):
        step = np.subtract(end, start).astype(np.float32)
        offset = (x - start[0], y - start[1], z - start[2])
        along = np.clip(sum(p * s for p, s in zip(offset, step, strict=True)) / (step @ step), 0, 1)
        squared = sum((p - along * s) ** 2 for p, s in zip(offset, step, strict=True))
        distance = np.minimum(distance, np.sqrt(squared) - (first + along * (last - first)))
    return distance


def _waves(rng: np.random.Generator, x: Real, y: Real, z: Real, wavelength: float, count: int = 24) -> Field:
    """Sum of random plane waves of nearly one wavelength, unit variance; its zeros are evenly spaced sheets."""
    direction = rng.standard_normal((count, 3))
    direction /= np.linalg.norm(direction, axis=1, keepdims=True)
    number = 2 * np.pi / wavelength
    vectors = (number * rng.uniform(0.85, 1.15, (count, 1)) * direction).astype(np.float32)
    total = np.zeros(x.shape, np.float32)
    for vector, phase in zip(vectors, rng.uniform(0, 2 * np.pi, count).astype(np.float32), strict=True):
        total += np.cos(vector[0] * x + vector[1] * y + vector[2] * z + phase)
    return total * np.float32((2 / count) ** 0.5)


def _sheets(waves: Field, wavelength: float, step: Sequence[float]) -> Field:
    """About the distance in mm from the nearest zero of `waves`, signed; `step` are the distances between points."""
    steepness = np.sqrt(sum(g * g for g in np.gradient(waves, *step)))
    sheets: Field = waves / np.hypot(steepness, 0.3 * 2 * np.pi / wavelength)  # bounded where waves are flat
    return sheets.astype(np.float32)


def _smooth_min(a: Field, b: Field, width: float) -> Field:
    overlap = np.maximum(width - np.abs(a - b), 0)
    smooth: Field = np.minimum(a, b) - overlap * overlap * np.float32(0.25 / width)
    return smooth
