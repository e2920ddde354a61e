"""A banded matrix cut into blocks of rows, each with the columns that it touches: its window."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

SMALLEST = 16
"""Sides of the blocks that a GPU multiplies are powers of two of at least this."""


@dataclass(frozen=True, eq=False)
class Windows:
    """Several matrices of the same size, cut alike.

    Args:
        size: Rows and columns.
        rows: Rows per block; the last block may have fewer.
        starts: First column of each window. It ascends, from below zero if the first window wraps around the end.
        lengths: Columns of each window, which is taken modulo the number of columns.
        table: The blocks, zeros where there is nothing, `(matrices, blocks, padded rows, padded columns)`.
    """

    size: tuple[int, int]
    rows: int
    starts: tuple[int, ...]
    lengths: tuple[int, ...]
    table: np.ndarray

    @property
    def blocks(self) -> int:
        return len(self.starts)

    def on(self, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
        """Starts and lengths as integers and the table in float32, moved only once."""
        return _placed(self, device)

    @property
    def each_column_is_in_two_blocks_at_most(self) -> bool:
        """Whether those are neighbours too, so that who passes over the columns once needs two open blocks."""
        ends = [start + length for start, length in zip(self.starts, self.lengths, strict=True)]
        return all(end <= start for end, start in zip(ends, self.starts[2:], strict=False))


def padded(length: int, *, least: int = SMALLEST) -> int:
    """Return the next power of two.

    Example:
        >>> padded(3), padded(3, least=1), padded(33)
        (16, 4, 64)
    """
    return max(least, 1 << (length - 1).bit_length())


def windows(
    matrices: np.ndarray, *, rows: int, columns: int | None = None, exactly: bool = False, least: int = SMALLEST
) -> Windows:
    """Cut matrices into blocks.

    Args:
        matrices: `(matrices, rows, columns)`.
        rows: Most rows of a block.
        columns: Most columns of a window; exceeded only if a single row touches more. Default: any number.
        exactly: Whether blocks have `rows` rows, instead of as many as each other.
        least: Of the padded sides.

    Example:
        >>> cut = windows(np.eye(40)[None], rows=16)
        >>> cut.rows, cut.starts, cut.lengths, cut.table.shape
        (14, (0, 14, 28), (14, 14, 12), (1, 3, 16, 16))
    """
    count = matrices.shape[1]
    touched = np.any(matrices != 0, axis=0)
    several = min(rows, count)
    while columns is not None and several > 1 and max(_lengths(touched, several)) > columns:
        several -= 1
    each = rows if exactly else -(-count // -(-count // several))
    starts, lengths = _cover(touched, each)
    blocks = -(-count // each)
    table = np.zeros((len(matrices), blocks, padded(each, least=least), padded(max(lengths), least=least)))
    for block, (start, length) in enumerate(zip(starts, lengths, strict=True)):
        taken = matrices[:, block * each : (block + 1) * each, (start + np.arange(length)) % matrices.shape[2]]
        table[:, block, : taken.shape[1], :length] = taken
    return Windows((count, matrices.shape[2]), each, tuple(starts), tuple(lengths), table)


def _lengths(touched: np.ndarray, rows: int) -> list[int]:
    return _cover(touched, rows)[1]


def _cover(touched: np.ndarray, rows: int) -> tuple[list[int], list[int]]:
    """The shortest window of each block, around the end if that is shorter."""
    size = touched.shape[1]
    starts: list[int] = []
    lengths: list[int] = []
    for first in range(0, len(touched), rows):
        columns = np.flatnonzero(touched[first : first + rows].any(0))
        if not len(columns):
            columns = np.array([0])
        gaps = np.diff(columns, append=columns[0] + size)
        widest = len(gaps) - 1 - int(gaps[::-1].argmax())
        start = int(columns[(widest + 1) % len(columns)])
        lengths.append(int(size - gaps[widest]) + 1)
        if starts:
            while start < starts[-1]:
                start += size
        elif start + lengths[-1] > size and len(touched) > rows:
            start -= size
        starts.append(start)
    return starts, lengths


@lru_cache(maxsize=1024)
def _placed(cut: Windows, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    with torch.inference_mode(False):
        starts, lengths = (torch.tensor(x, dtype=torch.int32, device=device) for x in (cut.starts, cut.lengths))
        return starts, lengths, torch.from_numpy(cut.table).to(device, torch.float32).contiguous()
