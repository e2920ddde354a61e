r"""Keep some subbands of a volume: the linear map behind `SubbandProjection`, made fast.

The plain definition is $\mathcal P = \xi^{-1}\,\mathrm{mask}\,\xi$. Three things make it cheap:

- Perfect reconstruction: $\mathcal P$ of some bands is the identity minus $\mathcal P$ of the others, so only the
  smaller set is computed (for the paper's $\mathcal D$: LLL and HHH, an eighth of the volume each).
- Separability: bands share their path, `L → LL → LLL`, and each step halves the remaining data.
- Each axis is a banded matrix: long axes are split into blocks of rows that read only the samples they need. A step
  reads the last axis and writes it as the first (or the reverse, alternating from level to level), so that every block
  is one large matrix product over all channels, without copies.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, lru_cache, partial
from itertools import pairwise
from typing import TypeVar

import torch
from torch import Tensor

from .operators import analysis_matrix, inversion_error, synthesis_matrix
from .subbands import SUBBANDS

T = TypeVar("T", str, tuple[int, ...])

ROWS_PER_BLOCK = 16
"""Rows of an analysis block (twice as many for synthesis, which doubles the samples); 8 and 32 measured slower."""

LONGEST_DENSE_AXIS = 40
"""An axis of at most this many samples is one dense product."""

LARGEST_DENSE_VOLUME = 640
"""For at most this many voxels (deep stages) the whole map is one matrix, as the time would be that of calls alone."""

NARROWEST_PRODUCT = 16
"""A product with fewer columns than this is slow in BLAS; its transpose, with as few rows, is fast."""

SHORTEST_GAP = 16
"""More zero columns than this between two runs are worth a second product."""

CHUNK_ELEMENTS = 1 << 23
"""Samples per chunk, at least those of one channel. Smaller chunks stay in the cache and are slightly faster on an idle
machine; larger ones mean fewer calls, and so fewer waits of one thread for another on a busy machine."""


@dataclass(frozen=True)
class Block:
    """Some rows of a banded matrix, restricted to one run of the columns they touch.

    Rows that wrap around the ends touch two runs; the second block is added to the first.
    """

    rows: slice
    columns: slice
    entries: Tensor
    adds: bool


@dataclass(frozen=True)
class Banded:
    """A matrix as blocks of rows."""

    height: int
    blocks: tuple[Block, ...]


@dataclass(frozen=True)
class AxisStep:
    """Analysis and synthesis of one axis at one level, one matrix each per letter."""

    analysis: dict[str, Banded]
    synthesis: dict[str, Banded]


@dataclass(frozen=True)
class Plan:
    """Everything that `BandFilter` needs for one size, device and precision.

    Args:
        levels: Per level, the steps of the three axes, in the order in which that level takes the axes.
        wanted: Per level, the bands to compute, letters in that order; `LLL` if the path continues deeper.
        complement: Whether the bands are subtracted from the volume instead of kept.
    """

    levels: tuple[tuple[AxisStep, ...], ...]
    wanted: tuple[frozenset[str], ...]
    complement: bool

    @property
    def is_identity(self) -> bool:
        return self.complement and not any(self.wanted)


@dataclass(frozen=True)
class BandFilter:
    """The map from a volume to its part in some bands.

    Args:
        bands: Names such as `LLH`, at every level; `LLL` at the deepest.
        wavelet: Name of a discrete wavelet.
        level: Number of levels.
        mode: Boundary mode.
    """

    bands: frozenset[str]
    wavelet: str
    level: int
    mode: str

    def __call__(self, x: Tensor, *, transposed: bool = False) -> Tensor:
        """Filter `(C, D, H, W)` of any floating point type; returns the same type, computed in at least float32."""
        out = torch.empty_like(x, memory_format=torch.contiguous_format)
        for channels in chunks(x):
            work = x[channels].to(torch.promote_types(x.dtype, torch.float32), copy=True).contiguous()
            out[channels].copy_(self.apply_(work, transposed=transposed))
        return out

    def apply_(self, x: Tensor, *, transposed: bool = False) -> Tensor:
        """Filter a contiguous float32 or float64 chunk in place."""
        plan = _plan(self, tuple(x.shape[1:]), x.device, x.dtype, transposed)
        if plan.is_identity:
            return x
        with torch.no_grad(), torch.autocast(x.device.type, enabled=False):
            if x[0].numel() <= LARGEST_DENSE_VOLUME:
                matrix = _dense(self, tuple(x.shape[1:]), x.device, x.dtype, transposed)
                return x.copy_((x.flatten(1) @ matrix).view_as(x))
            return _part(x, plan, 0, out=x, sign=-1.0 if plan.complement else 1.0, keep=plan.complement)

    def is_orthogonal_projection(self, shape: tuple[int, ...]) -> bool:
        """Return whether the map is its own transpose and its own square, up to rounding, on volumes of this size.

        That is so for an orthogonal wavelet under periodization if every level halves the size exactly.
        """
        return self.mode == "periodization" and all(
            _is_orthogonal(self.wavelet, self.mode, size, self.level) for size in shape
        )


def chunks(x: Tensor, elements: int | None = None) -> list[slice]:
    """Split the channels of `(C, …)` into chunks of `elements`, by default `CHUNK_ELEMENTS`; into one on a GPU."""
    channels, *volume = x.shape
    step = channels if x.is_cuda else max(1, (elements or CHUNK_ELEMENTS) // max(1, math.prod(volume)))
    return [slice(first, first + step) for first in range(0, channels, step)] if x.numel() else []


def _part(
    x: Tensor, plan: Plan, level: int, out: Tensor | None = None, sign: float = 1.0, keep: bool = False
) -> Tensor:
    """The wanted bands of one level and of the deeper ones, transformed back to the volume.

    They are written to `out` (which may be `x`), or added to it if `keep`. Even levels take and return `(C, D, H, W)`,
    odd ones `(D, H, W, C)`.
    """
    return _along_axis(x, plan, level, "", out, sign, keep)


def _along_axis(
    x: Tensor, plan: Plan, level: int, path: str, out: Tensor | None = None, sign: float = 1.0, keep: bool = False
) -> Tensor:
    """Split the next axis into its wanted halves, process each, and merge them again.

    Args:
        x: The axis to split is the last and becomes the first (even levels), or the reverse (odd levels).
        path: Letters of the axes already split.
    """
    if len(path) == 3:
        return _part(x, plan, level + 1) if path == "LLL" and level + 1 < len(plan.levels) else x
    step, from_last = plan.levels[level][len(path)], level % 2 == 0
    analyse, synthesise = (_last_to_first, _first_to_last) if from_last else (_first_to_last, _last_to_first)
    letters = [letter for letter in "LH" if any(band.startswith(path + letter) for band in plan.wanted[level])]
    halves = [analyse(x, step.analysis[letter]) for letter in letters]
    if out is None:
        out = torch.empty_like(x) if halves else torch.zeros_like(x)
    for letter in letters:
        half = _along_axis(halves.pop(0), plan, level, path + letter)
        synthesise(half, step.synthesis[letter], out, sign, keep)
        keep = True
    return out


def _last_to_first(
    x: Tensor, matrix: Banded, out: Tensor | None = None, sign: float = 1.0, keep: bool = False
) -> Tensor:
    """Map `(…, n)` to `(height, …)`: a new tensor, or `out`, which is overwritten or, if `keep`, added to."""
    if out is None:
        out = x.new_empty((matrix.height, *x.shape[:-1]))
    source, target = x.view(-1, x.shape[-1]).t(), out.view(matrix.height, -1)
    for block in matrix.blocks:
        beta = float(keep or block.adds)
        target[block.rows].addmm_(block.entries, source[block.columns], beta=beta, alpha=sign)
    return out


def _first_to_last(
    x: Tensor, matrix: Banded, out: Tensor | None = None, sign: float = 1.0, keep: bool = False
) -> Tensor:
    """Map `(n, …)` to `(…, height)`: a new tensor, or `out`, which is overwritten or, if `keep`, added to."""
    if out is None:
        out = x.new_empty((*x.shape[1:], matrix.height))
    source, target = x.view(x.shape[0], -1).t(), out.view(-1, matrix.height)
    if matrix.height < NARROWEST_PRODUCT and len(matrix.blocks) == 1:
        (block,) = matrix.blocks
        product = torch.mm(block.entries, source[:, block.columns].t()).t()
        target.add_(product, alpha=sign) if keep else torch.mul(product, sign, out=target)
        return out
    for block in matrix.blocks:
        target[:, block.rows].addmm_(
            source[:, block.columns], block.entries.t(), beta=float(keep or block.adds), alpha=sign
        )
    return out


@lru_cache(maxsize=256)
def _plan(spec: BandFilter, shape: tuple[int, ...], device: torch.device, dtype: torch.dtype, transposed: bool) -> Plan:
    sizes = [shape]
    for _ in range(spec.level):
        sizes.append(tuple(analysis_matrix(spec.wavelet, spec.mode, size).shape[1] for size in sizes[-1]))
    tolerance = 1e-13 if dtype == torch.float64 else 1e-9
    inverts = all(inversion_error(spec.wavelet, spec.mode, size) <= tolerance for level in sizes[:-1] for size in level)
    others = frozenset(SUBBANDS) - spec.bands
    complement = inverts and len(others) < len(spec.bands)
    bands = others if complement else spec.bands
    wanted = [bands if level == spec.level - 1 else bands - {"LLL"} for level in range(spec.level)]
    for level in range(spec.level - 2, -1, -1):
        if wanted[level + 1]:
            wanted[level] |= {"LLL"}
    place = partial(_banded, device=device, dtype=dtype)
    step = partial(_axis_step, spec.wavelet, spec.mode, transposed=transposed, place=place)
    with torch.inference_mode(False):
        levels = tuple(tuple(step(size) for size in _in_turn(level, axes)) for level, axes in enumerate(sizes[:-1]))
    return Plan(
        levels, tuple(frozenset(_in_turn(i, band) for band in bands) for i, bands in enumerate(wanted)), complement
    )


@lru_cache(maxsize=64)
def _dense(
    spec: BandFilter, shape: tuple[int, ...], device: torch.device, dtype: torch.dtype, transposed: bool
) -> Tensor:
    """The transpose of the whole map, `(voxels, voxels)`: its responses to all unit impulses."""
    with torch.inference_mode(False):
        voxels = math.prod(shape)
        impulses = torch.eye(voxels, dtype=torch.float64).view(voxels, *shape)
        plan = _plan(spec, shape, impulses.device, impulses.dtype, transposed)
        sign = -1.0 if plan.complement else 1.0
        responses = _part(impulses, plan, 0, out=impulses, sign=sign, keep=plan.complement)
        return responses.view(voxels, voxels).to(device, dtype)


def _in_turn(level: int, axes: T) -> T:
    """D, H, W in the order in which a level takes them."""
    return axes[::-1] if level % 2 == 0 else axes


def _axis_step(
    wavelet: str, mode: str, size: int, transposed: bool, place: Callable[[Tensor, int], Banded]
) -> AxisStep:
    analysis = analysis_matrix(wavelet, mode, size)
    synthesis = synthesis_matrix(wavelet, mode, analysis.shape[1], size)
    if transposed:
        analysis, synthesis = synthesis.mT, analysis.mT
    return AxisStep(
        {letter: place(matrix, ROWS_PER_BLOCK) for letter, matrix in zip("LH", analysis, strict=True)},
        {letter: place(matrix, 2 * ROWS_PER_BLOCK) for letter, matrix in zip("LH", synthesis, strict=True)},
    )


def _banded(matrix: Tensor, rows: int, device: torch.device, dtype: torch.dtype) -> Banded:
    height = matrix.shape[0]
    if device.type != "cpu" or max(matrix.shape) <= LONGEST_DENSE_AXIS:
        rows = height
    blocks = []
    for first in range(0, height, rows):
        part = matrix[first : first + rows]
        for i, columns in enumerate(_runs(part)):
            entries = part[:, columns].to(device, dtype).contiguous()
            blocks.append(Block(slice(first, first + len(part)), columns, entries, adds=i > 0))
    return Banded(height, tuple(blocks))


def _runs(matrix: Tensor) -> list[slice]:
    """The nonzero columns as runs; a short gap does not end a run."""
    touched = matrix.abs().amax(0).nonzero().flatten().tolist() or [0]
    starts = [touched[0], *(b for a, b in pairwise(touched) if b - a > SHORTEST_GAP)]
    stops = [*(a for a, b in pairwise(touched) if b - a > SHORTEST_GAP), touched[-1]]
    return [slice(start, stop + 1) for start, stop in zip(starts, stops, strict=True)]


@cache
def _is_orthogonal(wavelet: str, mode: str, size: int, level: int) -> bool:
    for _ in range(level):
        if size % 2:
            return False
        analysis = analysis_matrix(wavelet, mode, size).flatten(0, 1)
        if (analysis @ analysis.mT - torch.eye(size, dtype=torch.float64)).abs().max() > 1e-9:
            return False
        size //= 2
    return True
