r"""Keep some subbands of a volume or an image: the linear map behind `SubbandProjection`, made fast.

The plain definition is $\mathcal P = \xi^{-1}\,\mathrm{mask}\,\xi$. This makes it cheap:

- Perfect reconstruction: $\mathcal P$ of some bands is the identity minus $\mathcal P$ of the others, so only the
  smaller set is computed (for the paper's $\mathcal D$: LLL and HHH, an eighth of the volume each; in two dimensions LL
  and HH, a quarter of the image each).
- Separability: a band of level $k$ is one matrix per axis, $A_{x,k} = A_x A_L^{k-1}$ there and $S_{x,k}$ back, the
  product of those of its levels. The pyramid is never built level by level.
- A band with a weight $w$ counts $w$ times, and is subtracted from the identity $1 - w$ times. The matrix of the last
  axis carries it.
- Bands share their way: all matrices of the first axis are one product on the way there and one on the way back. Along
  the last axis, there and back is one square matrix. A product reads the last axis and writes it as the first (and the
  reverse on the way back), so that each is one large matrix product over all channels, without copies.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache

import torch
from torch import Tensor

from .chunking import works_in_cache
from .full_precision import full_precision
from .operators import analysis_matrix, inversion_error, synthesis_matrix
from .subbands import SUBBANDS
from .without_autocast import without_autocast

LARGEST_DENSE_VOLUME = 640
"""For at most this many voxels (deep stages) the whole map is one matrix, as the time would be that of calls alone."""

CHUNK_ELEMENTS = 1 << 22
"""Samples per chunk on a CPU, at least those of one channel: few enough to stay in the cache."""

Step = tuple[str, int]
"""What happens along one axis of a band: its letter, at its level."""

WeightedSteps = Mapping[tuple[Step, ...], float]
"""Bands at their levels, each as what happens along every axis, and how many times it counts."""


@dataclass(frozen=True)
class Split:
    """One axis split into the steps that the wanted bands take along it.

    Args:
        there: The matrices of all steps, one below the other, `(coefficients, samples)`.
        back: Those that lead back, transposed, in the same order, `(coefficients, samples)`.
        parts: For each step, its rows of `there`, and what follows along the next axis: another split, or for the last
            axis the matrix of all its steps there and back, transposed.
    """

    there: Tensor
    back: Tensor
    parts: tuple[tuple[slice, Split | Tensor], ...]


@dataclass(frozen=True)
class Plan:
    """Everything that `BandFilter` needs for one size, device and precision.

    Args:
        split: The last axis of the volume, and all that follows; if there is no other, the matrix there and back,
            transposed; `None` if no band is computed.
        complement: Whether the computed bands are subtracted from the volume instead of kept.
    """

    split: Split | Tensor | None
    complement: bool


@dataclass(frozen=True)
class BandFilter:
    """The map from a volume to its part in some bands.

    Args:
        bands: At least one name such as `LLH`, a letter per axis, at every level; `LLL` at the deepest.
        wavelet: Name of a discrete wavelet.
        level: Number of levels.
        mode: Boundary mode.
        weights: Names and weights of the bands that are not kept as they are.
    """

    bands: frozenset[str]
    wavelet: str
    level: int
    mode: str
    weights: frozenset[tuple[str, float]] = frozenset()

    @classmethod
    def weighted(cls, weights: Mapping[str, float], wavelet: str, level: int, mode: str) -> BandFilter:
        """The map that multiplies each named band by its weight and leaves out the others."""
        not_one = frozenset((band, weight) for band, weight in weights.items() if weight != 1)
        return cls(frozenset(weights), wavelet, level, mode, not_one)

    @property
    def weight_of(self) -> dict[str, float]:
        """The weight of every band that there is: 0 of those that are left out."""
        kept = dict.fromkeys(self.bands, 1.0) | dict(self.weights)
        return {band: kept.get(band, 0.0) for band in SUBBANDS[self.ndim]}

    @property
    def ndim(self) -> int:
        """Number of dimensions."""
        return len(next(iter(self.bands)))

    def __call__(self, x: Tensor, *, transposed: bool = False) -> Tensor:
        """Filter `(C, *space)` of any floating point type; returns the same type, computed in at least float32."""
        work = x.to(torch.promote_types(x.dtype, torch.float32), memory_format=torch.contiguous_format, copy=True)
        return self.apply_(work, transposed=transposed).to(x.dtype)

    def apply_(self, x: Tensor, *, transposed: bool = False) -> Tensor:
        """Filter a contiguous float32 or float64 tensor in place, and return it."""
        shape, place = tuple(x.shape[1:]), (x.device, x.dtype)
        with torch.no_grad(), without_autocast(x.device), full_precision():
            if math.prod(shape) <= LARGEST_DENSE_VOLUME:
                return x.copy_((x.flatten(1) @ _dense(self, shape, *place, transposed)).view_as(x))
            plan = _plan(self, shape, *place, transposed)
            for channels in _chunks(x):
                _apply(plan, x[channels])
        return x

    def of_constant(
        self, shape: tuple[int, ...], device: torch.device, dtype: torch.dtype, *, and_back: bool = False
    ) -> Tensor | None:
        """What is left of a volume of ones, of this shape, computed once in float64; `None` if that is nothing.

        Args:
            shape: `(D, H, W)`, or as many axes as there are dimensions.
            device: Of the result.
            dtype: Of the result.
            and_back: Whether the transposed filter follows.
        """
        return _of_constant(self, shape, device, dtype, and_back)

    def is_orthogonal_projection(self, shape: tuple[int, ...]) -> bool:
        """Return whether the map is its own transpose and its own square, up to rounding, on volumes of this size.

        That is so for an orthogonal wavelet under periodization if every level halves the size exactly.
        """
        return (
            self.mode == "periodization"
            and not self.weights
            and all(_is_orthogonal(self.wavelet, self.mode, size, self.level) for size in shape)
        )


def _chunks(x: Tensor) -> list[slice]:
    """Split the channels of `(C, …)` into chunks on a CPU. Elsewhere, where calls are what costs, they are one."""
    channels, *volume = x.shape
    step = max(1, CHUNK_ELEMENTS // max(1, math.prod(volume))) if works_in_cache(x.device) else channels
    return [slice(first, first + step) for first in range(0, channels, step)] if x.numel() else []


def _apply(plan: Plan, x: Tensor) -> None:
    """Filter `(C, *space)` in place."""
    if plan.split is None:
        if not plan.complement:
            x.zero_()
        return
    lines = x.view(-1, x.shape[-1])
    if isinstance(plan.split, Split):
        rows, back = _there(x, plan.split).flatten(1).t(), plan.split.back
    else:
        rows, back = lines.clone(), plan.split
    if plan.complement:
        lines.addmm_(rows, back, alpha=-1)
    else:
        torch.mm(rows, back, out=lines)


def _there(x: Tensor, split: Split) -> Tensor:
    """Split the last axis of `(…, n)` and filter what comes of it along the axes before: `(coefficients, …)`."""
    y = torch.mm(split.there, x.view(-1, x.shape[-1]).t()).view(-1, *x.shape[:-1])
    filtered = y if isinstance(split.parts[0][1], Split) else torch.empty_like(y)
    for rows, following in split.parts:
        lines = filtered[rows].view(-1, y.shape[-1])
        if isinstance(following, Split):
            torch.mm(_there(y[rows], following).flatten(1).t(), following.back, out=lines)
        else:
            torch.mm(y[rows].view(lines.shape), following, out=lines)
    return filtered


@lru_cache(maxsize=256)
def _plan(spec: BandFilter, shape: tuple[int, ...], device: torch.device, dtype: torch.dtype, transposed: bool) -> Plan:
    sizes = [_sizes(spec, size) for size in shape]
    tolerance = 1e-13 if dtype == torch.float64 else 1e-9
    inverts = all(inversion_error(spec.wavelet, spec.mode, size) <= tolerance for axis in sizes for size in axis)
    wanted = _steps_of(spec.weight_of, spec.level)
    others = _steps_of({band: 1 - weight for band, weight in spec.weight_of.items()}, spec.level)
    complement = inverts and len(others) < len(wanted)
    computed = others if complement else wanted
    with torch.inference_mode(False):
        axes = [_steps(spec, axis, transposed) for axis in reversed(sizes)]
        return Plan(_split(computed, axes, device, dtype) if computed else None, complement)


def _steps_of(weights: Mapping[str, float], levels: int) -> dict[tuple[Step, ...], float]:
    """What happens along each axis, the last first, for every band that counts, at every level that has it."""
    return {
        tuple((letter, level) for letter in reversed(band)): weight
        for band, weight in weights.items()
        for level in range(1, levels + 1)
        if weight and ("H" in band or level == levels)
    }


def _sizes(spec: BandFilter, size: int) -> list[int]:
    """The samples along one axis before each level."""
    sizes = [size]
    for _ in range(spec.level - 1):
        sizes.append(analysis_matrix(spec.wavelet, spec.mode, sizes[-1]).shape[1])
    return sizes


def _steps(spec: BandFilter, sizes: Sequence[int], transposed: bool) -> dict[Step, tuple[Tensor, Tensor]]:
    """The matrices there and back of every step along one axis, in float64: the products of those of its levels."""
    steps: dict[Step, tuple[Tensor, Tensor]] = {}
    low = low_back = torch.eye(sizes[0], dtype=torch.float64)
    for level, size in enumerate(sizes, start=1):
        analysis = analysis_matrix(spec.wavelet, spec.mode, size)
        synthesis = synthesis_matrix(spec.wavelet, spec.mode, analysis.shape[1], size)
        steps["H", level] = analysis[1] @ low, low_back @ synthesis[1]
        low, low_back = analysis[0] @ low, low_back @ synthesis[0]
        steps["L", level] = low, low_back
    return {step: (back.mT, there.mT) if transposed else (there, back) for step, (there, back) in steps.items()}


def _split(
    bands: WeightedSteps,
    axes: Sequence[dict[Step, tuple[Tensor, Tensor]]],
    device: torch.device,
    dtype: torch.dtype,
) -> Split | Tensor:
    """Bands, as their steps along the axes that are left, by the first of them."""
    steps = sorted({band[0] for band in bands})
    there = [axes[0][step][0] for step in steps]
    back = [axes[0][step][1].mT for step in steps]
    if len(axes) == 1:
        weighted = [bands[step,] * matrix for step, matrix in zip(steps, back, strict=True)]
        return (torch.cat(there).mT @ torch.cat(weighted)).to(device, dtype)
    parts, first = [], 0
    for step, matrix in zip(steps, there, strict=True):
        of_step = {band[1:]: weight for band, weight in bands.items() if band[0] == step}
        following = _split(of_step, axes[1:], device, dtype)
        parts.append((slice(first, first + len(matrix)), following))
        first += len(matrix)
    return Split(torch.cat(there).to(device, dtype), torch.cat(back).to(device, dtype), tuple(parts))


@lru_cache(maxsize=64)
def _dense(
    spec: BandFilter, shape: tuple[int, ...], device: torch.device, dtype: torch.dtype, transposed: bool
) -> Tensor:
    """The transpose of the whole map, `(voxels, voxels)`: its responses to all unit impulses."""
    with torch.inference_mode(False):
        voxels = math.prod(shape)
        impulses = torch.eye(voxels, dtype=torch.float64).view(voxels, *shape)
        _apply(_plan(spec, shape, impulses.device, impulses.dtype, transposed), impulses)
        return impulses.view(voxels, voxels).to(device, dtype)


@lru_cache(maxsize=64)
def _of_constant(
    spec: BandFilter, shape: tuple[int, ...], device: torch.device, dtype: torch.dtype, and_back: bool
) -> Tensor | None:
    with torch.inference_mode(False), torch.no_grad():
        left = torch.ones(1, *shape, dtype=torch.float64)
        _apply(_plan(spec, shape, left.device, left.dtype, False), left)
        if left.abs().max() <= (1e-12 if dtype == torch.float64 else 1e-9):
            return None  # rounding alone
        if and_back:
            _apply(_plan(spec, shape, left.device, left.dtype, True), left)
        return left[0].to(device, dtype)


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
