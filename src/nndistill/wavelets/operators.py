"""Analysis and synthesis of one level along one axis, as small matrices computed with PyWavelets.

Both maps are linear in every boundary mode, so the responses to one unit impulse per sample define them: the matrices
have PyWavelets' own conventions, and no padding rule is implemented twice.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Literal, get_args

import numpy as np
import pywt
import torch
from torch import Tensor

from ..errors import UnknownName, UserError

Mode = Literal[
    "zero",
    "constant",
    "symmetric",
    "periodic",
    "smooth",
    "periodization",
    "reflect",
    "antisymmetric",
    "antireflect",
]
"""PyWavelets' nine boundary modes: ways to continue a signal beyond its ends."""


@torch.compiler.assume_constant_result  # type: ignore[untyped-decorator]
def check_wavelet(name: str) -> str:
    """Return the wavelet's name as PyWavelets spells it.

    Raises:
        UnknownName: PyWavelets has no such wavelet; the nearest name is suggested.
        UserError: The wavelet is continuous, so it has no filter bank to invert.
    """
    spelled = str(name).lower()
    if spelled in _discrete_wavelets():
        return spelled
    if spelled in pywt.wavelist(kind="continuous") or spelled.startswith(("shan", "fbsp", "cmor")):
        raise UserError(
            f"wavelet {name!r} is continuous and has no inverse of finite length; "
            "choose a discrete one such as 'db4', 'sym5' or 'bior4.4'."
        )
    raise UnknownName("wavelet", str(name), _discrete_wavelets())


def check_mode(mode: str) -> Mode:
    """Return the boundary mode.

    Raises:
        UnknownName: There is no such mode; the nearest one is suggested.
    """
    for known in get_args(Mode):
        if mode == known:
            return known  # type: ignore[no-any-return]
    raise UnknownName("boundary mode", str(mode), get_args(Mode))


def check_level(level: int, *, lowest: int = 0) -> int:
    """Return the number of levels.

    Raises:
        UserError: It is not a whole number, or below `lowest`.
    """
    if isinstance(level, bool) or not isinstance(level, int) or level < lowest:
        raise UserError(f"level must be a whole number of at least {lowest}, not {level!r}.")
    return level


@cache
def analysis_matrix(wavelet: str, mode: str, size: int) -> Tensor:
    """Return the map from `size` samples to low and high coefficients: `(2, coefficients, size)`, float64 on the CPU.

    Raises:
        UserError: PyWavelets refuses this size in this mode.
    """
    if size < 1:
        raise UserError(f"a wavelet transform needs at least one sample along each axis, not {size}.")
    try:
        low, high = pywt.dwt(np.eye(size), wavelet, mode, axis=0)
    except ValueError as reason:
        raise UserError(
            f"boundary mode {mode!r} cannot continue an axis of {size} sample: {str(reason).rstrip('.')}. "
            "Use mode 'symmetric', fewer levels or a larger patch."
        ) from None
    return _constant(np.stack([low, high]))


@cache
def synthesis_matrix(wavelet: str, mode: str, coefficients: int, size: int | None = None) -> Tensor:
    """Return the map from low and high coefficients to samples: `(2, samples, coefficients)`, float64 on the CPU.

    Args:
        wavelet: Name of a discrete wavelet.
        mode: Boundary mode.
        coefficients: Number of low (and of high) coefficients.
        size: Number of samples to keep. Default: all that PyWavelets returns, one more than an odd original had.
    """
    identity = np.eye(coefficients)
    low = pywt.idwt(identity, None, wavelet, mode, axis=0)[:size]
    high = pywt.idwt(None, identity, wavelet, mode, axis=0)[:size]
    return _constant(np.stack([low, high]))


@cache
def inversion_error(wavelet: str, mode: str, size: int) -> float:
    """Return the largest entry by which synthesis after analysis differs from the identity.

    It is rounding for most wavelets, up to 1e-11 if PyWavelets' filters have few digits, and 1e-3 and more for
    wavelets without an exact inverse, such as `dmey`.
    """
    analysis = analysis_matrix(wavelet, mode, size)
    synthesis = synthesis_matrix(wavelet, mode, analysis.shape[1], size)
    return float(((synthesis @ analysis).sum(0) - torch.eye(size, dtype=torch.float64)).abs().max())


@torch.compiler.disable  # type: ignore[untyped-decorator]
def analysis_matrix_on(wavelet: str, mode: str, size: int, device: torch.device, dtype: torch.dtype) -> Tensor:
    """Return `analysis_matrix` in a precision and on a device, cast and moved only once."""
    return _placed(analysis_matrix, wavelet, mode, size, device, dtype)


@torch.compiler.disable  # type: ignore[untyped-decorator]
def synthesis_matrix_on(wavelet: str, mode: str, coefficients: int, device: torch.device, dtype: torch.dtype) -> Tensor:
    """Return `synthesis_matrix` of full length in a precision and on a device, cast and moved only once."""
    return _placed(synthesis_matrix, wavelet, mode, coefficients, device, dtype)


@cache
def _placed(
    build: Callable[[str, str, int], Tensor], wavelet: str, mode: str, n: int, device: torch.device, dtype: torch.dtype
) -> Tensor:
    with torch.inference_mode(False):
        return build(wavelet, mode, n).to(device, dtype)


@cache
def _discrete_wavelets() -> frozenset[str]:
    return frozenset(pywt.wavelist(kind="discrete"))


def _constant(matrices: np.ndarray) -> Tensor:
    """A tensor that later calls can use in training, even if this one runs under inference mode."""
    with torch.inference_mode(False):
        return torch.from_numpy(np.ascontiguousarray(matrices, dtype=np.float64))
