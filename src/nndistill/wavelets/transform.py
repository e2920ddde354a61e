"""The discrete wavelet pyramid in three dimensions and its inverse: PyWavelets', differentiable."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from ..errors import UserError
from .full_precision import full_precision
from .operators import analysis_matrix_on, check_level, check_mode, check_wavelet, synthesis_matrix_on
from .subbands import SUBBANDS, pywavelets_key
from .without_autocast import without_autocast

Coefficients = list[Any]
"""`[approximation, coarsest details, …, finest details]`, as in `pywt.wavedecn`: a tensor, then dictionaries."""

KEYS = tuple(pywavelets_key(band) for band in SUBBANDS)


def wavedec3(x: Tensor, wavelet: str = "db4", *, mode: str = "symmetric", level: int = 3) -> Coefficients:
    """Decompose the last three axes into `level` levels of subbands.

    Args:
        x: Any leading axes, then D, H, W. float16 and bfloat16 are transformed, and returned, in float32.
        wavelet: Any discrete wavelet of PyWavelets, orthogonal or biorthogonal.
        mode: How the signal continues beyond its ends; one of PyWavelets' nine boundary modes.
        level: Number of levels; as in PyWavelets, it may exceed the number that is useful for the size.

    Shape:
        `(*, D, H, W)` → `[(*, d, h, w), {"aad": (*, d, h, w), …, "ddd": …}, …]`, coarsest first.

    Raises:
        UnknownName: There is no such wavelet or mode.
        UserError: PyWavelets refuses the size in this mode, the level is impossible, or the tensor is not floating
            point.

    Example:
        >>> approximation, coarse, fine = wavedec3(torch.rand(2, 16, 16, 16), "haar", level=2)
        >>> approximation.shape, fine["ddd"].shape
        (torch.Size([2, 4, 4, 4]), torch.Size([2, 8, 8, 8]))

    Source:
        Mallat, A theory for multiresolution signal decomposition, IEEE TPAMI 1989; conventions of `pywt.wavedecn`.
    """
    wavelet, mode, level = check_wavelet(wavelet), check_mode(mode), check_level(level)
    x = working_precision(x)
    dtype = x.dtype
    if mode == "smooth":  # extrapolating a slope far beyond the signal loses too many digits for float32
        x = x.double()
    details: list[dict[str, Tensor]] = []
    with without_autocast(x.device), full_precision():
        for _ in range(level):
            bands = _analyse(x, wavelet, mode)
            x = bands.pop("aaa")
            details.append({key: band.to(dtype) for key, band in bands.items()})
    return [x.to(dtype), *reversed(details)]


def waverec3(
    coeffs: Sequence[Tensor | Mapping[str, Tensor | None]],
    wavelet: str = "db4",
    *,
    mode: str = "symmetric",
    shape: Sequence[int] | None = None,
) -> Tensor:
    """Compose a volume from its subbands; the inverse of `wavedec3`.

    Args:
        coeffs: What `wavedec3` returned. A detail that is missing or `None` counts as zero.
        wavelet: The wavelet of the decomposition.
        mode: The boundary mode of the decomposition.
        shape: The original D, H, W. Default: as `pywt.waverecn`, one sample more along an axis of odd size.

    Shape:
        `[(*, d, h, w), {"aad": (*, d, h, w), …}, …]` → `(*, D, H, W)`.

    Raises:
        UnknownName: There is no such wavelet or mode.
        UserError: The coefficients do not fit together, or give a smaller volume than `shape`.

    Example:
        >>> x = torch.rand(2, 9, 12, 7)
        >>> torch.allclose(waverec3(wavedec3(x), shape=(9, 12, 7)), x, atol=1e-5)
        True

    Source:
        `pywt.waverecn`.
    """
    wavelet, mode = check_wavelet(wavelet), check_mode(mode)
    if not coeffs or not isinstance(coeffs[0], Tensor):
        raise UserError("coefficients start with the approximation, a tensor; pass what wavedec3 returned.")
    x = working_precision(coeffs[0])
    with without_autocast(x.device), full_precision():
        for details in coeffs[1:]:
            if not isinstance(details, Mapping):
                raise UserError("each level of coefficients is a dictionary such as {'aad': …}; use wavedec3's.")
            x = _synthesise(x, details, wavelet, mode)
    if shape is None:
        return x
    if len(shape) != 3 or any(wanted > given for wanted, given in zip(shape, x.shape[-3:], strict=True)):
        raise UserError(f"these coefficients give a volume of {tuple(x.shape[-3:])}, not of {tuple(shape)}.")
    depth, height, width = shape
    return x[..., :depth, :height, :width]


def working_precision(x: Tensor) -> Tensor:
    """Return a volume in float64 if it has that, or else in float32: half precision loses the small details.

    Raises:
        UserError: The tensor has fewer than three axes, or is not floating point.
    """
    if x.dim() < 3:
        raise UserError(f"a volume has at least the three axes D, H, W; this tensor has shape {tuple(x.shape)}.")
    if not x.is_floating_point():
        raise UserError(f"a wavelet transform needs floating point numbers, not {x.dtype}; convert with .float().")
    return x if x.dtype == torch.float64 else x.float()


def _analyse(x: Tensor, wavelet: str, mode: str) -> dict[str, Tensor]:
    """Every subband of one level, by PyWavelets' keys. Low and high of an axis are one product."""
    bands = x
    for axis in (-3, -2, -1):
        matrix = analysis_matrix_on(wavelet, mode, bands.shape[axis], x.device, x.dtype)
        bands = _along(axis, matrix.flatten(0, 1), bands)
    return {key: _half(_half(_half(bands, key[0], -3), key[1], -2), key[2], -1) for key in KEYS}


def _synthesise(approximation: Tensor, details: Mapping[str, Tensor | None], wavelet: str, mode: str) -> Tensor:
    """The inverse of one level. An approximation one sample longer than the details is cut, as in PyWavelets."""
    given = {key: working_precision(band) for key, band in details.items() if band is not None}
    if unknown := given.keys() - set(KEYS[1:]):
        raise UserError(f"there is no subband {min(unknown)!r} in three dimensions; keys are {', '.join(KEYS[1:])}.")
    shape = next(iter(given.values()), approximation).shape
    if any(band.shape != shape for band in given.values()) or not _fits(approximation.shape, shape):
        raise UserError(
            f"an approximation of {tuple(approximation.shape)} does not fit details of "
            f"{sorted({tuple(band.shape) for band in given.values()})}; pass what wavedec3 returned."
        )
    depth, height, width = shape[-3:]
    given["aaa"] = approximation[..., :depth, :height, :width]
    zero = approximation.new_zeros(()).expand(shape)
    bands = [given.get(key, zero) for key in KEYS]
    for axis in (-1, -2, -3):
        bands = [torch.cat(pair, dim=axis) for pair in zip(bands[0::2], bands[1::2], strict=True)]
        matrix = synthesis_matrix_on(
            wavelet, mode, shape[axis], approximation.device, torch.promote_types(bands[0].dtype, approximation.dtype)
        )
        matrix = torch.cat([matrix[0], matrix[1]], dim=1)
        bands = [_along(axis, matrix, band) for band in bands]
    return bands[0]


def _along(axis: int, matrix: Tensor, x: Tensor) -> Tensor:
    """Multiply one of the last three axes by a matrix."""
    if axis == -1:
        return x @ matrix.mT
    if axis == -2:
        return matrix @ x
    return (matrix @ x.flatten(-2)).view(*x.shape[:-3], -1, *x.shape[-2:])


def _half(bands: Tensor, letter: str, axis: int) -> Tensor:
    half = bands.shape[axis] // 2
    return bands.narrow(axis, 0 if letter == "a" else half, half)


def _fits(approximation: Sequence[int], details: Sequence[int]) -> bool:
    """Whether the coarser reconstruction is as long as the details, or one sample longer, along each axis."""
    return approximation[:-3] == details[:-3] and all(
        a - d in (0, 1) for a, d in zip(approximation[-3:], details[-3:], strict=True)
    )
