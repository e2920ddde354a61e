"""Area of the surface inside a 2×2×2 neighbourhood of voxels, for each of its 256 fillings."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cache
from itertools import product

import numpy as np
from numpy.typing import NDArray

Corner = tuple[int, int, int]
Triangle = tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]

CORNERS: tuple[Corner, ...] = tuple(product((0, 1), (0, 1), (0, 1)))
"""Positions of the eight voxels; the voxel at position `k` is bit `k` of a neighbourhood's code."""


def surface_areas(spacing: Sequence[float]) -> NDArray[np.float64]:
    """Area in mm² of the surface that crosses a neighbourhood, by code.

    The surface is that of marching cubes at the middle between voxels: of inside and outside, whichever fills at most
    half of the eight places is cut off, each of its groups (joined along edges) by a polygon through the middles of
    the edges that leave it. If the polygon is not plane, it is made of the triangles with the largest area in a unit
    cube; this choice gives the areas of the table in DeepMind's `surface-distance`, at any spacing.

    Args:
        spacing: Voxel size along the three axes in mm.

    Returns:
        256 areas; those of the codes 0 (all outside) and 255 (all inside) are 0.

    Source:
        Lorensen and Cline, Marching cubes, SIGGRAPH 1987; Nikolov et al., Clinically applicable segmentation of head
        and neck anatomy for radiotherapy, J. Med. Internet Res. 23, e26151 (2021).
    """
    x, y, z = spacing
    codes, vectors = _area_vectors()
    areas = np.linalg.norm(vectors * (y * z, x * z, x * y), axis=1)
    half = np.bincount(codes, areas, minlength=128)
    return np.concatenate([half, half[::-1]])  # inside and outside exchanged: the same surface


@cache
def _area_vectors() -> tuple[NDArray[np.intp], NDArray[np.float64]]:
    """All triangles of the first 128 codes: the code, and a normal as long as the area at unit spacing."""
    found = [(code, _area_vector(triangle)) for code in range(128) for triangle in _triangles(code)]
    codes, vectors = zip(*found, strict=True)
    return np.array(codes), np.array(vectors)


def _triangles(code: int) -> Iterator[Triangle]:
    inside = {corner for bit, corner in enumerate(CORNERS) if code >> bit & 1}
    for group in _groups(inside if len(inside) <= 4 else set(CORNERS) - inside):
        yield from max(_triangulations(_polygon(group)), key=_area)


def _groups(corners: set[Corner]) -> Iterator[set[Corner]]:
    """Split corners into sets that are joined along edges."""
    left = set(corners)
    while left:
        group = [left.pop()]
        for corner in group:  # grows while it is walked through
            joined = {other for other in left if _share_edge(corner, other)}
            group += joined
            left -= joined
        yield set(group)


def _polygon(group: set[Corner]) -> list[NDArray[np.float64]]:
    """Middles of the edges that leave a group, in order around it: neighbours lie on one face of the cube."""
    edges = [(a, b) for a in group for b in CORNERS if b not in group and _share_edge(a, b)]
    middles = [np.add(a, b) / 2 for a, b in edges]
    ordered = [middles.pop()]
    while middles:
        following = next(k for k, middle in enumerate(middles) if _share_face(middle, ordered[-1]))
        ordered.append(middles.pop(following))
    return ordered


def _share_edge(a: Corner, b: Corner) -> bool:
    return sum(i != j for i, j in zip(a, b, strict=True)) == 1


def _share_face(a: NDArray[np.float64], b: NDArray[np.float64]) -> bool:
    return bool(np.any((a == b) & (a != 0.5)))


def _triangulations(polygon: list[NDArray[np.float64]]) -> list[list[Triangle]]:
    """All ways to cut a polygon into triangles along lines between its corners."""
    if len(polygon) < 3:
        return [[]]
    first, last = polygon[0], polygon[-1]
    return [
        [(first, polygon[k], last), *before, *after]
        for k in range(1, len(polygon) - 1)
        for before in _triangulations(polygon[: k + 1])
        for after in _triangulations(polygon[k:])
    ]


def _area(triangles: list[Triangle]) -> float:
    return sum(float(np.linalg.norm(_area_vector(triangle))) for triangle in triangles)


def _area_vector(triangle: Triangle) -> NDArray[np.float64]:
    a, b, c = triangle
    return np.cross(b - a, c - a) / 2
