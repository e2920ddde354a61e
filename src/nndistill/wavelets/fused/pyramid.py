r"""$\mathcal P_{\mathcal D}^\top \mathcal P_{\mathcal D}$ of volumes of one size, in its three parts.

$\mathcal P^\top \mathcal P = I - B^\top \Phi B$ (see `axis`): `analyse` is $B$, `form` is $\Phi$, and $B^\top$ is
`coarse_synthesis` down to the approximation of the finest level, followed by `finest`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from itertools import permutations

import numpy as np
import torch
from torch import Tensor

from .axis import Axis, Band, Level, axis
from .separable import Separable, separable
from .windows import Windows, windows

TILE = (4, 16, 16)
"""Voxels that the finest synthesis makes at a time."""

Coefficients = dict[Band, Tensor]


@dataclass(frozen=True, eq=False)
class Cross:
    r"""What $\Phi$ does between different bands: it joins coefficients that are near a border along every axis.

    Args:
        corners: For each band, the places of these coefficients along every axis.
        products: For two bands, $\Phi_{ab}$ between their corners as one matrix per axis.
    """

    corners: Mapping[Band, tuple[Tensor, ...]]
    products: Mapping[tuple[Band, Band], tuple[Tensor, ...]]

    def take(self, coefficients: Coefficients) -> Coefficients:
        """The corners, `(N, *rows)` → `(N, *near the borders)`, in float32."""
        made: Coefficients = {}
        for band, places in self.corners.items():
            z, y, x = _grid(places, coefficients[band].device)
            made[band] = coefficients[band][:, z, y, x].float()
        return made

    def add_(self, coefficients: Coefficients, corners: Coefficients) -> None:
        """Add corners to what is there."""
        for band, values in corners.items():
            z, y, x = _grid(self.corners[band], values.device)
            coefficients[band][:, z, y, x] += values

    def __call__(self, corners: Coefficients) -> Coefficients:
        r"""$\sum_{b \ne a} \Phi_{ab}$ of the corners, `(*, *near the borders)`."""
        made: Coefficients = {}
        for (a, b), matrices in self.products.items():
            z, y, x = (_on(matrix, corners[b].device) for matrix in matrices)
            part = y @ (corners[b] @ x.mT)
            part = (z @ part.flatten(-2)).view(*part.shape[:-3], len(z), *part.shape[-2:])
            made[a] = made[a] + part if a in made else part
        return made


@dataclass(frozen=True, eq=False)
class Pyramid:
    """All levels of one size of volume.

    Args:
        analyses: For each level, finest first: from the approximation before to this level's, and to HHH.
        syntheses: Their transposes, but of the finest level.
        finest: The transpose of the finest one, along z, y and x.
        forms: $\\Phi$ within a band; empty if $\\Phi$ is the identity.
        energies: The same with the coefficients themselves as second output.
        cross: $\\Phi$ between bands, if there is any.
    """

    analyses: tuple[Separable, ...]
    syntheses: tuple[Separable, ...]
    finest: tuple[Windows, Windows, Windows]
    forms: Mapping[Band, Separable]
    energies: Mapping[Band, Separable]
    cross: Cross | None

    def analyse(self, x: Tensor, centres: Tensor) -> Coefficients:
        """Coefficients of all bands that are removed.

        Args:
            x: Contiguous `(N, D, H, W)`.
            centres: Subtracted from each channel first, `(N,)`.
        """
        low, made = x, {}
        for level, analysis in enumerate(self.analyses, start=1):
            types = (torch.float32, x.dtype)
            low, made["H", level] = analysis(low, centres=centres if level == 1 else None, types=types)
        made["L", len(self.analyses)] = low
        return made

    def form(self, coefficients: Coefficients) -> Coefficients:
        r"""$\Phi$ within each band."""
        if not self.forms:
            return coefficients
        return {band: self.forms[band](x, types=(x.dtype,))[0] for band, x in coefficients.items()}

    def energy(self, coefficients: Coefficients) -> Tensor:
        r"""$\langle c, \Phi c\rangle$ within each band, of all channels together, in double precision."""
        return torch.stack([self.energies[band].energy(x) for band, x in coefficients.items()]).sum()

    def coarse_synthesis(self, coefficients: Coefficients) -> tuple[Tensor, Tensor]:
        """The approximation and HHH of the finest level whose synthesis is that of all coefficients."""
        low = coefficients["L", len(self.analyses)]
        for level in range(len(self.analyses), 1, -1):
            (low,) = self.syntheses[level - 2](low, coefficients["H", level])
        return low, coefficients["H", 1]


@lru_cache(maxsize=64)
def pyramid(wavelet: str, mode: str, level: int, shape: tuple[int, int, int]) -> Pyramid:
    """Cut all matrices for volumes of this shape.

    Raises:
        UserError: PyWavelets refuses this size in this mode.
    """
    axes = [axis(wavelet, mode, size, level) for size in shape]
    levels = list(zip(*(one.levels for one in axes), strict=True))
    bands = list(axes[0].synthesis)
    orthogonal = all(one.is_orthogonal for one in axes)
    with torch.inference_mode(False):
        cross = None if orthogonal else _cross(axes, bands)
    return Pyramid(
        tuple(separable(_both(level), outputs=2) for level in levels),
        tuple(separable(_both(level, back=True), inputs=2) for level in levels[1:]),
        _finest(levels[0]),
        {} if orthogonal else {band: separable(_form(axes, band)) for band in bands},
        {} if orthogonal else {band: separable(_form(axes, band, itself=True), outputs=2) for band in bands},
        cross,
    )


def _both(level: tuple[Level, ...], *, back: bool = False) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Low and high along every axis."""
    z, y, x = (np.stack([one.low.T, one.high.T] if back else [one.low, one.high]) for one in level)
    return z, y, x


def _finest(level: tuple[Level, ...]) -> tuple[Windows, Windows, Windows]:
    z, y, x = _both(level, back=True)
    return (
        windows(z, rows=TILE[0], exactly=True, least=1),
        windows(y, rows=TILE[1], exactly=True),
        windows(x, rows=TILE[2], exactly=True),
    )


def _form(axes: list[Axis], band: Band, *, itself: bool = False) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    z, y, x = (one.form(band) for one in axes)
    x[2] *= -1
    if itself:
        z, y, x = (np.concatenate([form, np.eye(form.shape[1])[None]]) for form in (z, y, x))
    return z, y, x


def _cross(axes: list[Axis], bands: list[Band]) -> Cross | None:
    borders = {band: [one.border(band) for one in axes] for band in bands}
    products = {}
    for a, b in permutations(bands, 2):
        grams = [one.gram(a, b)[np.ix_(borders[a][i], borders[b][i])] for i, one in enumerate(axes)]
        if all(gram.any() for gram in grams):
            z, y, x = (torch.from_numpy(gram).float() for gram in grams)
            products[a, b] = (z, y, -x)
    joined = {band for pair in products for band in pair}
    corners = {
        band: tuple(
            torch.from_numpy(one.rows(band).primal[border]) for one, border in zip(axes, borders[band], strict=True)
        )
        for band in joined
    }
    return Cross(corners, products) if products else None


@lru_cache(maxsize=4096)
def _on(x: Tensor, device: torch.device) -> Tensor:
    return x.to(device)


def _grid(places: tuple[Tensor, ...], device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    z, y, x = (_on(along, device) for along in places)
    return z[:, None, None], y[:, None], x
