r"""Where in the wavelet pyramid the energy of features is, and how much of it is noise (the paper, Proposition 1).

White noise of variance $\sigma^2$ has the energy $\sigma^2\lVert w\rVert^2$ in a coefficient whose filter is $w$.
Under an orthonormal transform every $\lVert w\rVert^2$ is 1, which is Proposition 1: the noise energy per coefficient
is the same in every band. In the other boundary modes and at odd sizes the filters near the ends are longer or
shorter, but their norms are known, so that counting a coefficient as $\lVert w\rVert^2$ instead of 1 makes the
proposition hold for any wavelet, mode and size, and inside any mask:

$$E_b = \frac{\sum_{k\in b} c_k^2}{\sum_{k\in b} \lVert w_k\rVert^2}, \qquad
\mathrm{SNR}_b = \frac{E_b - \sigma^2}{\sigma^2}$$
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import cache
from math import prod

import numpy as np
import pandas as pd
import pywt
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d, adaptive_avg_pool3d

from ..wavelets import wavedecn
from ..wavelets.operators import analysis_matrix, check_level, check_mode, check_wavelet
from ..wavelets.subbands import SUBBANDS, parse_bands, pywavelets_key

DETAILS = {ndim: tuple(sorted(bands[1:], key=lambda band: band.count("H"))) for ndim, bands in SUBBANDS.items()}
"""The detail bands by the number of dimensions, from one high letter to all: in three dimensions seven."""

GAUSSIAN_MEDIAN = 0.6745
"""Median of the absolute value of a standard normal number."""

SMALL_STAGE = 16**3
"""With more voxels, the square of a median is unbiased to 1 %; with fewer, the bias is measured and divided out."""

TRIALS = 1000
"""Channels of noise on which this bias is measured."""

LONGEST_CHUNK = 1 << 24
"""Samples transformed at a time, at least one channel."""


def stage_spectrum(
    features: Tensor,
    *,
    wavelet: str = "db4",
    level: int = 3,
    mode: str = "symmetric",
    inside: Tensor | None = None,
) -> pd.DataFrame:
    r"""Measure energy and noise of one stage's features in every subband.

    The noise of a channel is $\sigma = \mathrm{median}\lvert HHH\rvert / 0.6745$ at the finest level (HH in two
    dimensions), each coefficient divided by its filter's norm; $\sigma^2$ of the stage is the mean over channels. On
    small stages, where the square of a median of few numbers is too large on average, it is divided by what it makes of
    white noise of that size.

    Args:
        features: Output of one stage.
        wavelet: Any discrete wavelet of PyWavelets.
        level: Number of levels; fewer if the stage is small (see `measurable_levels`).
        mode: Boundary mode. `periodization` is orthonormal: the energies of all bands sum to the features' own.
        inside: Where the image is, of any size. A coefficient counts with the part of its filter that is inside, and
            not at all if that is less than half: padding and the black around a head would pass for a lack of
            signal.

    Shape:
        `(B, C, D, H, W)`, and `(B, D', H', W')` for `inside`; or all without D.

    Returns:
        One row per band: the seven of level 1 (the finest), of level 2, …, and `LLL` of the last level. Columns
        `level`; `band`; `coefficients` (the number that counts, $\sum\lVert w\rVert^2$); `energy` (a sum of squares);
        `energy_per_coefficient`; `noise` ($\sigma^2$, the same in every row); `snr`, at least 0. A stage that cannot
        be split has one row, `LLL` of level 0, without noise. Unknown values are NaN.

    Raises:
        UnknownName: There is no such wavelet or mode.

    Source:
        Fan et al., Detail Consistent Stage-Wise Distillation for Efficient 3D MRI Segmentation, MICCAI 2026,
        Proposition 1; Donoho and Johnstone, Ideal spatial adaptation by wavelet shrinkage, Biometrika 1994 (noise).
    """
    wavelet, mode = check_wavelet(wavelet), check_mode(mode)
    batch, channels, *space = features.shape
    ndim = len(space)
    depth, finest = measurable_levels(space, level, mode), (1, "H" * ndim)
    mask = torch.ones(batch, *[1] * ndim, device=features.device) if inside is None else inside.to(features.device)
    resized: Callable[..., Tensor] = adaptive_avg_pool3d if ndim == 3 else adaptive_avg_pool2d
    share = resized(mask.double()[:, None], space)[:, 0]
    weights = {key: _weights(share, key, wavelet, mode) for key in _keys(depth, ndim)}
    energy = dict.fromkeys(weights, 0.0)
    variances = []
    for part in torch.split(features, max(1, LONGEST_CHUNK // max(1, batch * prod(space))), dim=1):
        for key, band in _pyramid(part, wavelet, mode, depth):
            energy[key] += (band.square() * (weights[key] > 0)[:, None]).sum(dtype=torch.float64).item()
            if key == finest:
                variances.append(_variances(band, weights[key]))
    noise = float("nan")
    if variances:
        noise = float(np.mean(np.concatenate(variances))) / _bias(share, weights[finest], wavelet, mode)
    return _derived(
        pd.DataFrame(
            [
                {
                    "level": at,
                    "band": band,
                    "coefficients": channels * float(weights[at, band].sum()),
                    "energy": energy[at, band],
                    "noise": noise,
                }
                for at, band in energy
            ]
        )
    )


def pooled_spectrum(spectra: Iterable[pd.DataFrame]) -> pd.DataFrame:
    """Combine the spectra of several cases into one: energies, noise energies and counts add up.

    Args:
        spectra: Tables from `stage_spectrum` with an additional column `stage`.

    Returns:
        The same columns, one row per stage and band.
    """
    frame = pd.concat(spectra, ignore_index=True)
    frame = frame.assign(noise=frame["noise"] * frame["coefficients"])
    sums = frame.groupby(["stage", "level", "band"], sort=False)[["coefficients", "energy", "noise"]]
    pooled = sums.sum(min_count=1).reset_index()
    return _derived(pooled.assign(noise=pooled["noise"] / pooled["coefficients"]))


def measurable_levels(shape: Iterable[int], level: int, mode: str) -> int:
    """How many levels of a pyramid are measured on features of this size, at most `level`.

    Under periodization every level has to halve every axis exactly, or the transform is not orthonormal. In the other
    modes a level is measured as long as halving leaves a sample along each axis.
    """
    sizes, depth = tuple(shape), 0
    while depth < check_level(level) and all(
        size >= 2 and not (mode == "periodization" and size % 2) for size in sizes
    ):
        sizes = tuple(size // 2 for size in sizes)
        depth += 1
    return depth


def filter_span(wavelet: str, level: int) -> int:
    """Number of samples that a coefficient of this level reads, before anything is cut at the ends."""
    return int((pywt.Wavelet(check_wavelet(wavelet)).dec_len - 1) * (2**level - 1) + 1)


def dimensions_of(spectrum: pd.DataFrame) -> int:
    """Number of dimensions of the features that were measured: that of the letters of a band."""
    return len(spectrum["band"].iloc[0])


def directional_signal(spectrum: pd.DataFrame) -> pd.DataFrame:
    """The share of each level in a stage's directional signal.

    Signal is energy minus noise energy, at least 0, summed over the bands that DCD matches. Each band is weighted by
    its share of the volume under an orthonormal transform, an eighth per level (of an image, a quarter): what other
    modes add beyond the ends of a small stage would count its deep levels several times.

    Args:
        spectrum: From `pooled_spectrum`.

    Returns:
        One row per stage, one column per level; rows sum to 1, or are NaN if there is no signal.
    """
    ndim = dimensions_of(spectrum)
    directional = spectrum[spectrum["band"].isin(parse_bands("D", ndim=ndim))]
    signal = (directional["energy_per_coefficient"] - directional["noise"].fillna(0)).clip(lower=0)
    weighted = signal / 2.0 ** (ndim * directional["level"])
    levels = weighted.groupby([directional["stage"], directional["level"]]).sum().unstack("level")
    return levels.div(levels.sum(axis=1).replace(0, np.nan), axis=0)


def worthwhile_levels(spectrum: pd.DataFrame, *, share: float = 0.95) -> pd.Series[int]:
    """The smallest number of levels that have `share` of the directional signal found in all levels, for each stage.

    Args:
        spectrum: From `pooled_spectrum`.
        share: Between 0 and 1.

    Returns:
        Levels by stage; 0 if no directional signal was found.
    """
    held = directional_signal(spectrum).cumsum(axis=1)
    return ((held < share - 1e-9).sum(axis=1) + 1).where(held.notna().any(axis=1), 0).astype(int).rename("levels")


def _derived(frame: pd.DataFrame) -> pd.DataFrame:
    per_coefficient = frame["energy"] / frame["coefficients"].replace(0, np.nan)
    snr = (per_coefficient / frame["noise"].replace(0, np.nan) - 1).clip(lower=0)
    return frame.assign(energy_per_coefficient=per_coefficient, snr=snr)


def _keys(depth: int, ndim: int) -> list[tuple[int, str]]:
    return [(level, band) for level in range(1, depth + 1) for band in DETAILS[ndim]] + [(depth, "L" * ndim)]


def _pyramid(x: Tensor, wavelet: str, mode: str, depth: int) -> Iterator[tuple[tuple[int, str], Tensor]]:
    ndim = x.dim() - 2
    for level in range(1, depth + 1):
        x, details = wavedecn(x, wavelet, ndim=ndim, mode=mode, level=1)
        for band in DETAILS[ndim]:
            yield (level, band), details[pywavelets_key(band)]
    yield (depth, "L" * ndim), x


def _weights(share: Tensor, key: tuple[int, str], wavelet: str, mode: str) -> Tensor:
    """The weight of every coefficient of a band: the squared norm of the part of its filter that is inside.

    0 for coefficients that are mostly outside, and for filters without a norm (two equal samples at an end).

    Args:
        share: How much of each voxel is inside, `(B, *space)`.
    """
    level, band = key
    within, whole = share, torch.ones_like(share[:1])
    for axis, letter in enumerate(band, start=1):
        filters = _squared_filters(wavelet, mode, share.shape[axis], level, letter).to(share.device)
        within, whole = ((x.movedim(axis, -1) @ filters.mT).movedim(-1, axis) for x in (within, whole))
    return torch.where((within > 0.5 * whole) & (whole > 1e-12), within, 0)


@cache
def _squared_filters(wavelet: str, mode: str, size: int, level: int, letter: str) -> Tensor:
    """The filters along one axis, from samples to the coefficients of a level, with each entry squared."""
    path = torch.eye(size, dtype=torch.float64)
    for at in range(1, level + 1):
        low, high = analysis_matrix(wavelet, mode, len(path)) @ path
        path = high if at == level and letter == "H" else low
    return path.square()


def _variances(hhh: Tensor, weights: Tensor) -> NDArray[np.float64]:
    """σ² of every sample and channel, from the median of the finest HHH."""
    variances = []
    for sample, weight in zip(hhh.double(), weights, strict=True):
        counted = weight > 0
        standard = (sample[:, counted] / weight[counted].sqrt()).abs().cpu().numpy()
        variances.append((np.median(standard, axis=1) / GAUSSIAN_MEDIAN) ** 2 if counted.any() else np.empty(0))
    return np.concatenate(variances)


def _bias(share: Tensor, weights: Tensor, wavelet: str, mode: str) -> float:
    """The estimate for white noise of variance 1: more than 1 if a stage has few coefficients.

    It is measured only for small stages, with the same random numbers each time.
    """
    if share[0].numel() > SMALL_STAGE:
        return 1.0
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(len(share), TRIALS, *share.shape[1:], generator=generator, dtype=torch.float64)
    ndim = share.dim() - 1
    hhh = wavedecn(noise * share.cpu().sqrt()[:, None], wavelet, ndim=ndim, mode=mode, level=1)[1]["d" * ndim]
    variances = _variances(hhh, weights.cpu())
    return float(variances.mean()) if len(variances) else 1.0
