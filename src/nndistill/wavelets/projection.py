"""Projection of a volume, or an image, onto wavelet subbands (the paper, Eq. 6)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from .band_filter import BandFilter
from .operators import check_level, check_mode, check_wavelet
from .subbands import Bands, parse_band_weights
from .transform import refuse_few_axes, working_precision


class SubbandProjection(nn.Module):
    r"""Keep some subbands of the wavelet pyramid and transform back.

    $$\mathcal P(F) = \xi_l^{-1}\big(\mathrm{mask} \cdot \xi_l(F)\big)$$

    The result is that of `wavedecn`, zeroing and `waverecn`, in a fraction of the time and memory, and without an
    autograd graph through the transform: the gradient is the adjoint.

    Args:
        bands: Groups `"A"` (LLL), `"S"` (HHH), `"D"` (the six others) joined with `+`, or a list of bands such as
            `["LLH", "HLL"]`. A band is kept at every level; LLL exists at the deepest level only. In two dimensions
            they are LL, HH and the two others, LH and HL. A mapping such as `{"A": 1, "D": 0.9}` has the weight by
            which each is multiplied.
        wavelet: Any discrete wavelet of PyWavelets.
        level: Number of levels.
        mode: One of PyWavelets' nine boundary modes.
        ndim: Number of dimensions, 1 to 3: the last axes of a tensor.

    Shape:
        `(*, D, H, W)`, in two dimensions `(*, H, W)`, → the same. float64 is computed in float64, everything else in
        float32, also under autocast; the result has the input's type.

    Raises:
        UnknownName: There is no such wavelet, mode or band.
        UserError: No band is named, a weight is not above 0, the level is impossible, or PyWavelets refuses the size in
            this mode.

    Example:
        >>> details = SubbandProjection("D")
        >>> constant = torch.ones(1, 16, 16, 16)
        >>> bool(details(constant).abs().max() < 1e-5)
        True

    Source:
        Fan et al., Detail Consistent Stage-Wise Distillation for Efficient 3D MRI Segmentation, MICCAI 2026, Eq. 6.
    """

    def __init__(
        self,
        bands: Bands = "D",
        *,
        wavelet: str = "db4",
        level: int = 3,
        mode: str = "symmetric",
        ndim: int = 3,
    ) -> None:
        super().__init__()
        self.filter = BandFilter.weighted(
            parse_band_weights(bands, ndim=ndim), check_wavelet(wavelet), check_level(level, lowest=1), check_mode(mode)
        )

    def forward(self, x: Tensor) -> Tensor:
        return self._apply_filter(x, transposed=False)

    def adjoint(self, x: Tensor) -> Tensor:
        r"""The transpose $\mathcal P^\top$: $\langle \mathcal P x, y\rangle = \langle x, \mathcal P^\top y\rangle$."""
        return self._apply_filter(x, transposed=True)

    def extra_repr(self) -> str:
        spec = self.filter
        return f"{_as_text(spec)}, wavelet={spec.wavelet}, level={spec.level}, mode={spec.mode}"

    def _apply_filter(self, x: Tensor, transposed: bool) -> Tensor:
        spec = self.filter
        refuse_few_axes(x, spec.ndim)
        working_precision(x[:0])
        volumes = x.reshape(-1, *x.shape[-spec.ndim :])
        projected: Tensor = _project(volumes, _as_text(spec), spec.wavelet, spec.level, spec.mode, transposed)
        return projected.reshape(x.shape)


def _as_text(spec: BandFilter) -> str:
    """Bands and weights as an operator's text argument, such as `HHH:0.5,LLL`."""
    weights = dict(spec.weights)
    return ",".join(f"{band}:{weights[band]!r}" if band in weights else band for band in sorted(spec.bands))


def _from_text(bands: str) -> dict[str, float]:
    named = [part.partition(":") for part in bands.split(",")]
    return {band: float(weight or 1) for band, _, weight in named}


# Registered as an operator of PyTorch, so that torch.compile sees one node instead of slices that it cannot trace.
@torch.library.custom_op("nndistill::project", mutates_args=())
def _project(x: Tensor, bands: str, wavelet: str, level: int, mode: str, transposed: bool) -> Tensor:
    return BandFilter.weighted(_from_text(bands), wavelet, level, mode)(x, transposed=transposed)


@_project.register_fake
def _(x: Tensor, bands: str, wavelet: str, level: int, mode: str, transposed: bool) -> Tensor:
    return torch.empty_like(x, memory_format=torch.contiguous_format)


def _remember(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    ctx.settings = inputs[1:]


def _transpose(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
    bands, wavelet, level, mode, transposed = ctx.settings
    return _project(gradient, bands, wavelet, level, mode, not transposed), None, None, None, None, None


_project.register_autograd(_transpose, setup_context=_remember)
