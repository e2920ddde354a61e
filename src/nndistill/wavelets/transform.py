"""The discrete wavelet pyramid in one to three dimensions and its inverse: PyWavelets', differentiable."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from ..errors import UserError
from .full_precision import full_precision
from .operators import analysis_matrix_on, check_level, check_mode, check_wavelet, synthesis_matrix_on
from .subbands import SUBBANDS, checked_ndim, pywavelets_key
from .without_autocast import without_autocast

Coefficients = list[Any]
"""`[approximation, coarsest details, …, finest details]`, as in `pywt.wavedecn`: a tensor, then dictionaries."""

KEYS = {ndim: tuple(map(pywavelets_key, bands)) for ndim, bands in SUBBANDS.items()}
"""PyWavelets' names of the bands of one level by the number of dimensions, the approximation's first."""

_NUMBERS = {1: "one", 2: "two", 3: "three"}


def wavedecn(x: Tensor, wavelet: str = "db4", *, ndim: int, mode: str = "symmetric", level: int = 3) -> Coefficients:
    """Decompose the last `ndim` axes into `level` levels of subbands.

    Args:
        x: Any leading axes, then those of space. float16 and bfloat16 are transformed, and returned, in float32.
        wavelet: Any discrete wavelet of PyWavelets, orthogonal or biorthogonal.
        ndim: Number of dimensions, 1 to 3.
        mode: How the signal continues beyond its ends; one of PyWavelets' nine boundary modes.
        level: Number of levels; as in PyWavelets, it may exceed the number that is useful for the size.

    Shape:
        In two dimensions `(*, H, W)` → `[(*, h, w), {"ad": (*, h, w), "da": …, "dd": …}, …]`, coarsest first.

    Raises:
        UnknownName: There is no such wavelet or mode.
        UserError: PyWavelets refuses the size in this mode, the level or the number of dimensions is impossible, or the
            tensor is not floating point.

    Example:
        >>> approximation, coarse, fine = wavedecn(torch.rand(5, 16, 16), "haar", ndim=2, level=2)
        >>> approximation.shape, fine["dd"].shape
        (torch.Size([5, 4, 4]), torch.Size([5, 8, 8]))

    Source:
        Mallat, A theory for multiresolution signal decomposition, IEEE TPAMI 1989; conventions of `pywt.wavedecn`.
    """
    wavelet, mode, level, ndim = check_wavelet(wavelet), check_mode(mode), check_level(level), checked_ndim(ndim)
    refuse_few_axes(x, ndim)
    x = working_precision(x)
    dtype = x.dtype
    if mode == "smooth":  # extrapolating a slope far beyond the signal loses too many digits for float32
        x = x.double()
    details: list[dict[str, Tensor]] = []
    with without_autocast(x.device), full_precision():
        for _ in range(level):
            bands = _analyse(x, ndim, wavelet, mode)
            x = bands.pop(KEYS[ndim][0])
            details.append({key: band.to(dtype) for key, band in bands.items()})
    return [x.to(dtype), *reversed(details)]


def waverecn(
    coeffs: Sequence[Tensor | Mapping[str, Tensor | None]],
    wavelet: str = "db4",
    *,
    ndim: int,
    mode: str = "symmetric",
    shape: Sequence[int] | None = None,
) -> Tensor:
    """Compose an image or a volume from its subbands; the inverse of `wavedecn`.

    Args:
        coeffs: What `wavedecn` returned. A detail that is missing or `None` counts as zero.
        wavelet: The wavelet of the decomposition.
        ndim: Its number of dimensions.
        mode: Its boundary mode.
        shape: The original size along the axes of space. Default: as `pywt.waverecn`, one sample more along an axis of
            odd size.

    Shape:
        In two dimensions `[(*, h, w), {"ad": (*, h, w), …}, …]` → `(*, H, W)`.

    Raises:
        UnknownName: There is no such wavelet or mode.
        UserError: The coefficients do not fit together, or give a smaller volume than `shape`.

    Example:
        >>> x = torch.rand(2, 9, 7)
        >>> torch.allclose(waverecn(wavedecn(x, ndim=2), ndim=2, shape=(9, 7)), x, atol=1e-5)
        True

    Source:
        `pywt.waverecn`.
    """
    wavelet, mode, ndim = check_wavelet(wavelet), check_mode(mode), checked_ndim(ndim)
    if not coeffs or not isinstance(coeffs[0], Tensor):
        raise UserError("coefficients start with the approximation, a tensor; pass what the decomposition returned.")
    refuse_few_axes(coeffs[0], ndim)
    x = working_precision(coeffs[0])
    with without_autocast(x.device), full_precision():
        for details in coeffs[1:]:
            if not isinstance(details, Mapping):
                raise UserError(
                    f"each level of coefficients is a dictionary such as {{{KEYS[ndim][1]!r}: …}}; pass what the "
                    "decomposition returned."
                )
            x = _synthesise(x, details, ndim, wavelet, mode)
    if shape is None:
        return x
    if len(shape) != ndim or any(wanted > given for wanted, given in zip(shape, x.shape[-ndim:], strict=True)):
        raise UserError(f"these coefficients give a volume of {tuple(x.shape[-ndim:])}, not of {tuple(shape)}.")
    return _first(x, shape)


def wavedec3(x: Tensor, wavelet: str = "db4", *, mode: str = "symmetric", level: int = 3) -> Coefficients:
    """Decompose the last three axes: `wavedecn` in three dimensions.

    Shape:
        `(*, D, H, W)` → `[(*, d, h, w), {"aad": (*, d, h, w), …, "ddd": …}, …]`, coarsest first.

    Example:
        >>> approximation, coarse, fine = wavedec3(torch.rand(2, 16, 16, 16), "haar", level=2)
        >>> approximation.shape, fine["ddd"].shape
        (torch.Size([2, 4, 4, 4]), torch.Size([2, 8, 8, 8]))
    """
    return wavedecn(x, wavelet, ndim=3, mode=mode, level=level)


def waverec3(
    coeffs: Sequence[Tensor | Mapping[str, Tensor | None]],
    wavelet: str = "db4",
    *,
    mode: str = "symmetric",
    shape: Sequence[int] | None = None,
) -> Tensor:
    """Compose a volume from its subbands: `waverecn` in three dimensions.

    Shape:
        `[(*, d, h, w), {"aad": (*, d, h, w), …}, …]` → `(*, D, H, W)`.

    Example:
        >>> x = torch.rand(2, 9, 12, 7)
        >>> torch.allclose(waverec3(wavedec3(x), shape=(9, 12, 7)), x, atol=1e-5)
        True
    """
    return waverecn(coeffs, wavelet, ndim=3, mode=mode, shape=shape)


def working_precision(x: Tensor) -> Tensor:
    """Return a tensor in float64 if it has that, or else in float32: half precision loses the small details.

    Raises:
        UserError: The tensor is not floating point.
    """
    if not x.is_floating_point():
        raise UserError(f"a wavelet transform needs floating point numbers, not {x.dtype}; convert with .float().")
    return x if x.dtype == torch.float64 else x.float()


def refuse_few_axes(x: Tensor, ndim: int) -> None:
    """Refuse a tensor without the axes along which it is to be transformed.

    Raises:
        UserError: It has fewer.
    """
    if x.dim() < ndim:
        axes = f"{_NUMBERS[ndim]} axes {', '.join('DHW'[-ndim:])}"
        raise UserError(f"the transform needs at least the {axes}; this tensor has shape {tuple(x.shape)}.")


def _analyse(x: Tensor, ndim: int, wavelet: str, mode: str) -> dict[str, Tensor]:
    """Every subband of one level, by PyWavelets' keys. Low and high of an axis are one product."""
    bands = x
    for axis in range(-ndim, 0):
        matrix = analysis_matrix_on(wavelet, mode, bands.shape[axis], x.device, x.dtype)
        bands = _along(axis, matrix.flatten(0, 1), bands)
    return dict(zip(KEYS[ndim], _halves_of_every_axis(bands, ndim), strict=True))


def _synthesise(
    approximation: Tensor, details: Mapping[str, Tensor | None], ndim: int, wavelet: str, mode: str
) -> Tensor:
    """The inverse of one level. An approximation one sample longer than the details is cut, as in PyWavelets."""
    lowest, *others = KEYS[ndim]
    given = {key: working_precision(band) for key, band in details.items() if band is not None}
    if unknown := given.keys() - set(others):
        named = f"there is no subband {min(unknown)!r} in {_NUMBERS[ndim]} dimension{'s' if ndim > 1 else ''}"
        raise UserError(f"{named}; keys are {', '.join(others)}.")
    shape = next(iter(given.values()), approximation).shape
    if any(band.shape != shape for band in given.values()) or not _fits(approximation.shape, shape, ndim):
        raise UserError(
            f"an approximation of {tuple(approximation.shape)} does not fit details of "
            f"{sorted({tuple(band.shape) for band in given.values()})}; pass what the decomposition returned."
        )
    given[lowest] = _first(approximation, shape[-ndim:])
    zero = approximation.new_zeros(()).expand(shape)
    bands = [given.get(key, zero) for key in KEYS[ndim]]
    for axis in range(-1, -ndim - 1, -1):
        bands = [torch.cat(pair, dim=axis) for pair in zip(bands[0::2], bands[1::2], strict=True)]
        matrix = synthesis_matrix_on(
            wavelet, mode, shape[axis], approximation.device, torch.promote_types(bands[0].dtype, approximation.dtype)
        )
        matrix = torch.cat([matrix[0], matrix[1]], dim=1)
        bands = [_along(axis, matrix, band) for band in bands]
    return bands[0]


def _along(axis: int, matrix: Tensor, x: Tensor) -> Tensor:
    """Multiply one of the last axes, counted from the end, by a matrix."""
    if axis == -1:
        return x @ matrix.mT
    return (matrix @ x.flatten(axis + 1)).view(*x.shape[:axis], -1, *x.shape[axis + 1 :])


def _halves_of_every_axis(bands: Tensor, ndim: int) -> list[Tensor]:
    """The subbands in PyWavelets' order, where each axis has its low half before its high one.

    Halved together, for the backward pass to join them: a slice's would fill a whole array with zeros for each band.
    Bands may be changed in place, which `chunk` forbids for the sake of its input; nothing reads that again.
    """
    parts = [bands]
    for axis in range(-ndim, 0):
        parts = [half for part in parts for half in part.unsafe_chunk(2, dim=axis)]
    return parts


def _first(x: Tensor, shape: Sequence[int]) -> Tensor:
    """The first samples along the last axes."""
    for axis, size in zip(range(-len(shape), 0), shape, strict=True):
        if size < x.shape[axis]:  # the way back of a slice of everything fills an array with zeros, and copies it
            x = x.narrow(axis, 0, size)
    return x


def _fits(approximation: Sequence[int], details: Sequence[int], ndim: int) -> bool:
    """Whether the coarser reconstruction is as long as the details, or one sample longer, along each axis."""
    return approximation[:-ndim] == details[:-ndim] and all(
        a - d in (0, 1) for a, d in zip(approximation[-ndim:], details[-ndim:], strict=True)
    )
