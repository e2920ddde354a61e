"""One case of the phantom: shapes drawn twice as fine as the voxels, reduced, and imaged in four contrasts."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from ...errors import UserError
from .acquisition import acquire, draw_contrast
from .anatomy import HEAD_MM, Tissue, draw_anatomy, tissues
from .lattice import Field, Lattice
from .tumour import LABEL_OF, LABELS, Tumour, invade

Number = TypeVar("Number", np.float32, np.uint8)

FINER = 2
"""Points drawn along each edge of a voxel."""

SLAB_POINTS = 1_000_000
"""Points drawn at a time: limits the memory, and keeps a slab in the processor's cache."""


def phantom_case(
    seed: int | np.random.SeedSequence,
    *,
    shape: tuple[int, int, int] = (96, 112, 96),
    spacing: tuple[float, float, float] = (1.5, 1.5, 1.5),
    lacks: Collection[str] = (),
) -> tuple[Field, NDArray[np.uint8]]:
    """Compute the images and labels of one head with a tumour.

    Args:
        seed: Decides everything that is random.
        shape: Voxels to the right, to the front and upwards, 32 or more each.
        spacing: Size of a voxel in mm. If the field of view is too small for an adult head, the head is scaled down.
        lacks: Labels that the tumour lacks, of `"NETC"`, `"SNFH"`, `"ET"`, `"RC"`.

    Returns:
        Images `(4, X, Y, Z)`, float32, in the order T1N, T1C, T2W, T2F: whole numbers from 0 to 32767, zero outside the
        brain. Labels `(X, Y, Z)`, uint8: 0 background, 1 NETC, 2 SNFH, 3 ET, 4 RC.

    Raises:
        UserError: A shape below 32, a spacing that is not positive, an unknown label.

    Example:
        >>> images, labels = phantom_case(0, shape=(32, 32, 32), spacing=(5.0, 5.0, 5.0))
        >>> images.shape, labels.shape
        ((4, 32, 32, 32), (32, 32, 32))
    """
    check_grid(shape, spacing)
    if unknown := set(lacks) - set(LABELS):
        raise UserError(f"the phantom has no label {', '.join(sorted(unknown))}; its labels are {', '.join(LABELS)}.")
    sequence = seed if isinstance(seed, np.random.SeedSequence) else np.random.SeedSequence(seed)
    # a stream of random numbers each, so that a change in one part does not change the others
    shape_rng, tumour_rng, contrast_rng, scan_rng = map(np.random.default_rng, _children(sequence, 4))

    scale = min(1.0, *(n * h / mm for n, h, mm in zip(shape, spacing, HEAD_MM, strict=True)))
    lattice, level = _level_sets(shape_rng, tumour_rng, shape, spacing, scale, lacks)
    signal, brain, labels = _draw(lattice, level, draw_contrast(contrast_rng), shape, spacing)

    axes = voxel_centres(shape, spacing)
    images = acquire(
        scan_rng,
        signal,
        brain,
        noise=lambda length: Lattice.covering(axes, [scale * length] * 3).noise(scan_rng, axes),
    )
    return images, labels


def voxel_centres(shape: Sequence[int], spacing: Sequence[float], finer: int = 1) -> list[Field]:
    """Positions along each axis in mm, zero in the middle, `finer` points per voxel."""
    return [
        ((np.arange(n * finer) - (n * finer - 1) / 2) * h / finer).astype(np.float32)
        for n, h in zip(shape, spacing, strict=True)
    ]


def check_grid(shape: Sequence[int], spacing: Sequence[float]) -> None:
    """Refuse a grid on which no phantom can be computed.

    Raises:
        UserError: Not three axes, a shape below 32, a spacing that is not positive.
    """
    if len(shape) != 3 or min(shape) < 32:
        raise UserError(f"the phantom needs at least 32 voxels along each of three axes, not {tuple(shape)}.")
    if len(spacing) != 3 or not all(0 < h < np.inf for h in spacing):
        raise UserError(f"a voxel's size is three positive numbers in mm, not {tuple(spacing)}.")


def _children(sequence: np.random.SeedSequence, count: int) -> list[np.random.SeedSequence]:
    """As `spawn`, without changing the sequence."""
    return [np.random.SeedSequence(sequence.entropy, spawn_key=(*sequence.spawn_key, k)) for k in range(count)]


def _level_sets(
    shape_rng: np.random.Generator,
    tumour_rng: np.random.Generator,
    shape: Sequence[int],
    spacing: Sequence[float],
    scale: float,
    lacks: Collection[str],
) -> tuple[Lattice, dict[str, Field]]:
    """All level sets on a lattice of about 2 mm of an adult head."""
    lattice = Lattice.covering(voxel_centres(shape, spacing, FINER), [max(2 * scale, h / FINER) for h in spacing])
    axes = lattice.axes()

    def noise(rng: np.random.Generator, length: float) -> Field:
        return Lattice.covering(axes, [scale * length] * 3).noise(rng, axes)

    turn = _rotation(shape_rng.normal(0, 0.06, 3))
    shift, size = shape_rng.normal(0, 1, 3), shape_rng.uniform(0.93, 0.99, 3)
    seen = np.meshgrid(*(axis / np.float32(scale) for axis in axes), indexing="ij")
    x, y, z = (
        ((sum(turn[i, k] * seen[k] for k in range(3)) - shift[i]) / size[i]).astype(np.float32)
        + np.float32(2.5) * noise(shape_rng, 45)
        for i in range(3)
    )
    tumour = Tumour.draw(tumour_rng)
    voxel = float(np.prod(spacing)) ** (1 / 3) / scale
    level = tumour.level_sets(
        tumour_rng,
        x,
        y,
        z,
        noise=lambda length: noise(tumour_rng, length),
        rim=max(1.4 * voxel, 2.0),
        lacks=lacks,
    )
    return lattice, level | draw_anatomy(shape_rng, *tumour.displace(x, y, z), step=[h / scale for h in lattice.step])


def _draw(
    lattice: Lattice, level: dict[str, Field], contrast: Field, shape: Sequence[int], spacing: Sequence[float]
) -> tuple[Field, NDArray[np.bool_], NDArray[np.uint8]]:
    """Signal, brain and labels of every voxel: the mean, or the majority, of its points."""
    signal = np.empty((len(contrast), *shape), np.float32)
    brain = np.empty(shape, np.bool_)
    labels = np.empty(shape, np.uint8)
    across, *others = voxel_centres(shape, spacing, FINER)
    thick = max(1, SLAB_POINTS // (FINER**3 * shape[1] * shape[2]))
    for start in range(0, shape[0], thick):
        slab = slice(start, min(start + thick, shape[0]))
        axes = [across[FINER * slab.start : FINER * slab.stop], *others]
        here = {name: lattice.evaluate(field, axes) for name, field in level.items()}
        tissue = tissues(here)
        invade(tissue, here)
        labels[slab] = _majority(LABEL_OF[tissue])
        brain[slab] = _mean(tissue == Tissue.AIR) < 0.5
        faint = 0.5 * _mean((tissue == Tissue.OEDEMA) * np.exp(np.minimum(here["oedema"], 0) / 5))  # towards its edge
        for image, of_tissue in zip(signal, contrast, strict=True):
            image[slab] = _mean(of_tissue[tissue]) + faint * (of_tissue[Tissue.WHITE] - of_tissue[Tissue.OEDEMA])
    return signal, brain, labels * brain


def _mean(points: NDArray[np.float32] | NDArray[np.bool_]) -> Field:
    mean: Field = _sum(points.astype(np.float32)) / np.float32(FINER**3)
    return mean


def _majority(points: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The most frequent label of each voxel, the higher one of equals, which preserves thin structures."""
    count = [_sum((points == label).view(np.uint8)) for label in reversed(LABELS.values())]
    commonest: NDArray[np.uint8] = (len(LABELS) - 1 - np.argmax(count, axis=0)).astype(np.uint8)
    return commonest


def _sum(points: NDArray[Number]) -> NDArray[Number]:
    """Sum over the points of each voxel; slices are many times faster than a sum over three axes of length two."""
    total = sum((points[..., k::FINER] for k in range(1, FINER)), start=points[..., ::FINER])
    total = sum((total[:, k::FINER] for k in range(1, FINER)), start=total[:, ::FINER])
    return sum((total[k::FINER] for k in range(1, FINER)), start=total[::FINER])


def _rotation(angles: NDArray[np.float64]) -> NDArray[np.float64]:
    turn = np.eye(3)
    for axis, angle in enumerate(angles):
        i, k = (axis + 1) % 3, (axis + 2) % 3
        one = np.eye(3)
        one[[i, i, k, k], [i, k, i, k]] = np.cos(angle), -np.sin(angle), np.sin(angle), np.cos(angle)
        turn = np.array([[sum(one[a, m] * turn[m, b] for m in range(3)) for b in range(3)] for a in range(3)])
    return turn
