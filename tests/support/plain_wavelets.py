"""The definitions, written with PyWavelets, to compare with."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping

import numpy as np
import pywt
import torch
from torch import Tensor

LETTERS = str.maketrans("LH", "ad")
GROUPS = {"A": ["LLL"], "S": ["HHH"], "D": ["LLH", "LHL", "LHH", "HLL", "HLH", "HHL"]}
GROUPS_IN = {
    1: {"A": ["L"], "S": ["H"], "D": []},
    2: {"A": ["LL"], "S": ["HH"], "D": ["LH", "HL"]},
    3: GROUPS,
}


def decompose(x: np.ndarray, wavelet: str, mode: str, level: int, *, ndim: int = 3) -> list:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # "level is too high": it goes on, and so do we
        return pywt.wavedecn(x, wavelet, mode=mode, level=level, axes=range(-ndim, 0))


def compose(coefficients: list, wavelet: str, mode: str, *, ndim: int = 3) -> np.ndarray:
    return pywt.waverecn(coefficients, wavelet, mode=mode, axes=range(-ndim, 0))


def project(
    x: np.ndarray,
    bands: str | Iterable[str] | Mapping[str, float],
    wavelet: str,
    mode: str,
    level: int,
    *,
    ndim: int = 3,
) -> np.ndarray:
    """Eq. 6 as it stands: decompose, zero every band that is not chosen (or weight each), compose, crop."""
    parts = bands.split("+") if isinstance(bands, str) else bands
    weights = dict(bands) if isinstance(bands, Mapping) else dict.fromkeys(parts, 1)
    by_key = {band.translate(LETTERS): w for part, w in weights.items() for band in GROUPS_IN[ndim].get(part, [part])}
    approximation, *details = decompose(x, wavelet, mode, level, ndim=ndim)
    kept = [approximation * by_key.get("a" * ndim, 0)]
    kept += [{key: band * by_key.get(key, 0) for key, band in finer.items()} for finer in details]
    return compose(kept, wavelet, mode, ndim=ndim)[(..., *map(slice, x.shape[-ndim:]))]


def projection_matrix(
    shape: tuple[int, ...], bands: str | Iterable[str] | Mapping[str, float], wavelet: str, mode: str, level: int
) -> Tensor:
    """Eq. 6 as one dense matrix over all voxels, for differentiable references."""
    voxels = int(np.prod(shape))
    impulses = np.eye(voxels).reshape(voxels, *shape)
    return torch.from_numpy(
        project(impulses, bands, wavelet, mode, level, ndim=len(shape)).reshape(voxels, voxels).T.copy()
    )
