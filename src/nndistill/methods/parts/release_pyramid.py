r"""The wavelet pyramid of the paper's public release, which is not the paper's: its synthesis does not invert it.

One level along one axis, for filters of $K$ taps and $n$ samples $x$ (zero outside):

$$c_f[i] = \sum_j d_f[j - 2i + K - 1]\,x[j], \qquad y = \sum_f\sum_i r_f[j - 2i + K - 1]\,c_f[i]$$

where $d_f$ are PyWavelets' `dec_lo` and `dec_hi`, and $r_f$ its `rec_lo` and `rec_hi`: a correlation with $K-1$ zeros
at each end and stride 2, and a transposed one. A transposed correlation inverts with the filters of the *analysis*; the
reconstruction filters are these backwards. An odd axis comes back one sample short.

Both are matrices here, $c = Ax$ and $y = Sc$, and each axis, three as in the release or two, is one product. A level's
energy $\lVert y\rVert^2 = \langle c, S^\top S c\rangle$ and its gradient $2 A^\top S^\top S c$ each need one further
product per axis, and nothing of the pyramid is kept for the backward pass. Where coefficients themselves are compared,
$S^\top S$ is the identity.
"""

from __future__ import annotations

from collections.abc import Container, Sequence
from dataclasses import dataclass
from functools import cache
from math import prod
from typing import Any

import pywt
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from ...errors import UserError
from ...wavelets.chunking import chunked
from ...wavelets.subbands import SUBBANDS
from ...wavelets.without_autocast import without_autocast
from .domain import Domain

CHUNK_ELEMENTS = 1 << 19
"""Values per chunk on a CPU: their coefficients, padded at both ends, are several times as many."""


@dataclass(frozen=True)
class ReleasePyramid:
    """Which bands of which pyramid are compared, and whether they are synthesised first.

    Args:
        bands: Names such as `LLH`, a letter per axis, at every level.
        wavelet: Name of a discrete wavelet.
        level: Number of levels; each splits the low band (LLL) of the one before.
        domain: `"spatial"` synthesises each level; `"coefficients"` does not.
    """

    bands: frozenset[str]
    wavelet: str
    level: int
    domain: Domain = "spatial"


@torch.compiler.disable  # type: ignore[untyped-decorator]
def pyramid_energy(x: Tensor, pyramid: ReleasePyramid) -> Tensor:
    r"""Return the mean square of what each level synthesises, or of its chosen coefficients, averaged over the levels.

    Args:
        x: A difference of features.
        pyramid: Bands, wavelet, number of levels and domain.

    Shape:
        `(B, C, *space)` in float32 or float64 → scalar of the same type.

    Raises:
        UserError: An axis of one voxel, for which the release's synthesis returns nothing.
    """
    if pyramid.domain == "spatial" and min(x.shape[2:]) < 2:
        raise UserError(
            f"dcd-release cannot compare features of {tuple(x.shape[2:])} voxels: its synthesis drops the last voxel "
            "of an odd axis. Use the method dcd, or fewer stages."
        )
    energy: Tensor = _PyramidEnergy.apply(x.as_subclass(Tensor), pyramid)  # type: ignore[no-untyped-call]
    return energy


@cache
def analysis_matrix(wavelet: str, size: int) -> Tensor:
    """$A$: from `size` samples to low, then high coefficients, `(2 · coefficients, size)`, float64."""
    filters = pywt.Wavelet(wavelet)
    with torch.inference_mode(False):
        return torch.cat([_correlation(taps, size) for taps in (filters.dec_lo, filters.dec_hi)])


@cache
def synthesis_matrix(wavelet: str, size: int) -> Tensor:
    """$S$: from the coefficients of `size` samples to samples, one fewer if `size` is odd, float64."""
    filters = pywt.Wavelet(wavelet)
    with torch.inference_mode(False):
        return torch.cat([_correlation(taps, size) for taps in (filters.rec_lo, filters.rec_hi)]).mT[: size - size % 2]


def along(matrices: Sequence[Tensor], x: Tensor) -> Tensor:
    """Multiply each of the last axes by its matrix."""
    x = x @ matrices[-1].mT
    for axis, matrix in zip(range(-2, -len(matrices) - 1, -1), reversed(matrices[:-1]), strict=True):
        x = (matrix @ x.flatten(axis + 1)).view(*x.shape[:axis], len(matrix), *x.shape[axis + 1 :])
    return x


class _PyramidEnergy(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, pyramid: ReleasePyramid) -> Tensor:
        volumes = x.flatten(0, 1)
        gradient = torch.empty_like(volumes) if ctx.needs_input_grad[0] else None
        energy = x.new_zeros(())
        with without_autocast(x.device):
            for channels in chunked(len(volumes), x[:1, :1].numel(), x.device, in_cache=CHUNK_ELEMENTS):
                part, its_gradient = _energy_and_gradient(volumes[channels], pyramid, len(volumes))
                energy += part
                if gradient is not None:
                    gradient[channels] = its_gradient
        if gradient is not None:
            ctx.save_for_backward(gradient.view_as(x))
        return energy

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        (saved,) = ctx.saved_tensors
        return saved * gradient, None


def _energy_and_gradient(x: Tensor, pyramid: ReleasePyramid, volumes: int, level: int = 1) -> tuple[Tensor, Tensor]:
    """Energy and gradient from this level on of `x`, this level's `(C, *space)`, which is a part of all `volumes`."""
    shape = x.shape[1:]
    analysis, gram = zip(*(_matrices_on(pyramid.wavelet, size, x.device, x.dtype) for size in shape), strict=True)
    coefficients = along(analysis, x)
    halves = [len(matrix) // 2 for matrix in analysis]
    lowest = "L" * len(shape)
    low = coefficients[_place(lowest, halves)]
    deeper = None
    if level < pyramid.level:
        deeper = _energy_and_gradient(low.contiguous(), pyramid, volumes, level + 1)
    _keep(pyramid.bands, coefficients, halves)
    if pyramid.domain == "spatial":
        gradient = along(gram, coefficients)
        _keep(pyramid.bands, gradient, halves)
        elements = prod(size - size % 2 for size in shape)
    else:
        gradient = coefficients
        elements = len(pyramid.bands) * prod(halves)
    scale = pyramid.level * volumes * elements
    energy = torch.linalg.vecdot(coefficients.flatten(), gradient.flatten()) / scale
    gradient *= 2 / scale
    if deeper is not None:
        energy += deeper[0]
        gradient[_place(lowest, halves)] += deeper[1]
    return energy, along([matrix.mT for matrix in analysis], gradient)


def _keep(bands: Container[str], coefficients: Tensor, halves: Sequence[int]) -> None:
    for band in SUBBANDS[len(halves)]:
        if band not in bands:
            coefficients[_place(band, halves)] = 0


def _place(band: str, halves: Sequence[int]) -> tuple[Any, ...]:
    """Where a band is among the coefficients: low before high along each axis."""
    return (..., *(slice(n) if letter == "L" else slice(n, None) for letter, n in zip(band, halves, strict=True)))


@cache
def _matrices_on(wavelet: str, size: int, device: torch.device, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    r"""$A$ and $S^\top S$ of an axis."""
    with torch.inference_mode(False):
        synthesis = synthesis_matrix(wavelet, size)
        return analysis_matrix(wavelet, size).to(device, dtype), (synthesis.mT @ synthesis).to(device, dtype)


def _correlation(taps: Sequence[float], size: int) -> Tensor:
    """Correlation with stride 2 and one zero fewer than taps at each end, `(coefficients, size)`."""
    i, j = torch.arange((size + len(taps)) // 2)[:, None], torch.arange(size)
    k = j - 2 * i + len(taps) - 1
    inside = (k >= 0) & (k < len(taps))
    return torch.tensor(taps, dtype=torch.float64)[k.clamp(0, len(taps) - 1)] * inside
