"""Sums of separable products, applied to the volumes of all channels: one matrix per axis, each of them banded."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from .launches import Launch, announce
from .windows import Windows, windows

Matrices = tuple[np.ndarray, np.ndarray, np.ndarray]
"""For each axis, z first, the matrices of all terms, `(terms, rows, columns)`."""

ROWS_IN_PLANE, COLUMNS_IN_PLANE = (64, 2048), (128, 8192)
"""The most along x, and in the whole plane of a block: the plane and its factors then fit into shared memory."""

OPEN_SUMS = 1 << 15
"""Float32 sums that a program has open at a time: half of the registers of a multiprocessor."""

PROGRAMS = 132
"""About as many programs keep a large GPU busy. If there are more, each of them marches along the whole axis."""


@dataclass(frozen=True, eq=False)
class Separable:
    """A sum of products, cut into blocks.

    Args:
        z: The matrices of all terms along the first axis.
        y: Along the second one.
        x: Along the last one.
        marches: Whether a program passes over z once, with two blocks open, instead of making one block.
        outputs: Either 1, the sum of all terms, or 2, of which the second has the last term.
        inputs: Either 1, which all terms take, or 2, one per term.
    """

    z: Windows
    y: Windows
    x: Windows
    marches: bool
    outputs: int = 1
    inputs: int = 1

    @property
    def terms(self) -> int:
        return len(self.z.table)

    @property
    def shapes(self) -> tuple[tuple[int, int, int], tuple[int, int, int]]:
        """Of an output and of an input."""
        rows, columns = zip(*(axis.size for axis in self._axes), strict=True)
        return rows, columns

    def __call__(
        self, *volumes: Tensor, centres: Tensor | None = None, types: tuple[torch.dtype, ...] = ()
    ) -> list[Tensor]:
        """Apply.

        Args:
            *volumes: As many as `inputs`, contiguous.
            centres: Subtracted from each channel first, `(N,)`.
            types: Of the outputs. Default: float32.

        Shape:
            `(N, *columns)` → `(N, *rows)`, as many as `outputs`.
        """
        rows, _ = self.shapes
        types = types or (torch.float32,) * self.outputs
        made = [volumes[0].new_empty((len(volumes[0]), *rows), dtype=dtype) for dtype in types]
        self._launch(volumes, centres, made, None)
        return made

    def energy(self, x: Tensor) -> Tensor:
        """The sum of the products of both outputs: `(N, *columns)` → scalar in double precision."""
        parts = x.new_empty((len(x), self._segments(len(x))[0] * self._in_plane), dtype=torch.float32)
        self._launch((x,), None, [], parts)
        return parts.sum(dtype=torch.float64)

    @property
    def _axes(self) -> tuple[Windows, Windows, Windows]:
        return self.z, self.y, self.x

    @property
    def _in_plane(self) -> int:
        return self.y.blocks * self.x.blocks

    def _segments(self, channels: int) -> tuple[int, int]:
        """How many programs share the march along z, and how many blocks each of them has."""
        if not self.marches:
            return self.z.blocks, 1
        wanted = max(1, min(self.z.blocks, PROGRAMS // max(1, channels * self._in_plane)))
        each = -(-self.z.blocks // wanted)
        return -(-self.z.blocks // each), each

    def _launch(
        self, volumes: tuple[Tensor, ...], centres: Tensor | None, made: list[Tensor], energy: Tensor | None
    ) -> None:
        first = volumes[0]
        segments, each = self._segments(len(first))
        written = made if energy is None else [energy]
        announce(self._counted(volumes, centres, written))
        if first.is_meta or not len(first):
            return
        from .separable_kernel import separable_kernel

        (KZ, WZ), (KY, WY), (KX, WX) = (axis.table.shape[2:] for axis in self._axes)
        placed = [part for axis in self._axes for part in (*axis.on(first.device), axis.rows, axis.blocks)]
        rows, columns = self.shapes
        separable_kernel[(len(first), segments, self._in_plane)](
            first,
            volumes[-1],
            first if centres is None else centres,
            written[0],
            written[-1],
            written[0],
            *columns,
            *rows,
            *placed,
            each,
            TERMS=self.terms,
            SPLIT=self.terms - self.outputs + 1,
            INPUTS=self.inputs,
            CENTRED=centres is not None,
            ENERGY=energy is not None,
            MARCHES=self.marches,
            KZ=KZ,
            WZ=WZ,
            KY=KY,
            WY=WY,
            KX=KX,
            WX=WX,
            num_warps=8,
        )

    def _counted(self, volumes: tuple[Tensor, ...], centres: Tensor | None, written: list[Tensor]) -> Launch:
        channels = len(volumes[0])
        segments, each = self._segments(channels)
        planes, weighed = self._planes(each)
        (KZ, _), (KY, WY), (KX, WX) = (axis.table.shape[2:] for axis in self._axes)
        of_volumes = planes * sum(self.y.lengths) * sum(self.x.lengths) * sum(x.element_size() for x in volumes)
        of_matrices = segments * (KY * WY + KX * WX) + weighed * KZ
        of_centres = 0 if centres is None else segments
        stored = sum(x.numel() * x.element_size() for x in written)
        once = sum(x.numel() * x.element_size() for x in volumes) + 4 * sum(axis.table.size for axis in self._axes)
        return Launch(
            "separable",
            bytes=once + stored,
            loaded=channels * (of_volumes + 4 * self._in_plane * (self.terms * of_matrices + of_centres)),
            stored=stored,
            flops=2 * channels * planes * self._in_plane * self.terms * (WY * WX * KX + KY * WY * KX),
        )

    def _planes(self, each: int) -> tuple[int, int]:
        """Planes loaded by the programs of one channel at one place in the plane, and how often they are weighed."""
        planes = weighed = 0
        windows_ = [range(start, start + length) for start, length in zip(self.z.starts, self.z.lengths, strict=True)]
        for first in range(0, len(windows_), each):
            own = windows_[first : first + each]
            passed = own[0].start
            for window, following in zip(own, [*own[1:], range(0)], strict=True):
                new = range(max(window.start, passed), window.stop)
                planes += len(new)
                weighed += len(new) + len(range(max(new.start, following.start), min(new.stop, following.stop)))
                passed = max(passed, window.stop)
        return planes, weighed


def separable(matrices: Matrices, *, outputs: int = 1, inputs: int = 1) -> Separable:
    """Cut the matrices of a sum of products into blocks that a program has room for."""
    x = windows(matrices[2], rows=ROWS_IN_PLANE[0], columns=COLUMNS_IN_PLANE[0])
    rows, columns = (
        limit[1] // side for limit, side in zip((ROWS_IN_PLANE, COLUMNS_IN_PLANE), x.table.shape[2:], strict=True)
    )
    y = windows(matrices[1], rows=min(rows, COLUMNS_IN_PLANE[0]), columns=min(columns, 2 * COLUMNS_IN_PLANE[0]))
    room = max(2, OPEN_SUMS // (outputs * y.table.shape[2] * x.table.shape[2]))
    marching = windows(matrices[0], rows=room // 2, least=1)
    if marching.each_column_is_in_two_blocks_at_most:
        return Separable(marching, y, x, True, outputs, inputs)
    return Separable(windows(matrices[0], rows=room, least=1), y, x, False, outputs, inputs)
