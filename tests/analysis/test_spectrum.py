"""The spectrum of features: Proposition 1, Parseval, the noise estimate, and how deep to look."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from nndistill.analysis.spectrum import (
    DETAILS,
    directional_signal,
    filter_span,
    measurable_levels,
    pooled_spectrum,
    stage_spectrum,
    worthwhile_levels,
)
from nndistill.errors import UnknownName
from plain_wavelets import LETTERS, decompose


def smooth(size: int, channels: int = 2) -> torch.Tensor:
    """A bump that is equal and flat at opposite faces, so that no mode sees an edge."""
    line = torch.sin(torch.pi * (torch.arange(size) + 0.5) / size).square()
    return torch.einsum("d,h,w->dhw", line, line, line).expand(1, channels, -1, -1, -1).double()


@settings(max_examples=10, deadline=None)
@given(
    sigma=st.floats(0.01, 100),
    wavelet=st.sampled_from(["haar", "db2", "db4", "sym5", "coif1"]),
    seed=st.integers(0, 2**31),
)
def test_white_noise_gives_its_sigma_and_the_same_energy_in_every_band(sigma, wavelet, seed):
    noise = sigma * torch.randn(1, 4, 32, 32, 32, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    spectrum = stage_spectrum(noise, wavelet=wavelet, level=2, mode="periodization")
    assert spectrum["noise"].iloc[0] == pytest.approx(sigma**2, rel=0.06)
    # a band of n coefficients has the relative standard error √(2/n): six of them
    error = (spectrum["energy_per_coefficient"] / sigma**2 - 1).abs()
    assert (error < 6 * np.sqrt(2 / spectrum["coefficients"])).all()
    np.testing.assert_allclose(spectrum["coefficients"].sum(), noise.numel(), rtol=1e-9)


@pytest.mark.parametrize("mode", ["symmetric", "zero", "antireflect"])
@pytest.mark.parametrize(("wavelet", "shape"), [("db4", (5, 7, 5)), ("haar", (9, 8, 11)), ("bior2.2", (12, 9, 7))])
def test_proposition_1_holds_in_any_mode_and_size_when_filters_count_by_their_norm(mode, wavelet, shape):
    noise = 3 * torch.randn(1, 3000, *shape)
    spectrum = stage_spectrum(noise, wavelet=wavelet, level=2, mode=mode)
    np.testing.assert_allclose(spectrum["energy_per_coefficient"], 9, rtol=0.07)
    assert spectrum["noise"].iloc[0] == pytest.approx(9, rel=0.15 if min(shape) < 6 else 0.1)


@pytest.mark.parametrize("level", [1, 2, 3])
def test_energies_sum_to_the_energy_of_the_features(level):
    features = torch.randn(2, 3, 16, 24, 8, dtype=torch.float64)
    spectrum = stage_spectrum(features, level=level, mode="periodization")
    assert spectrum["energy"].sum() == pytest.approx(features.square().sum().item(), rel=1e-9)
    assert spectrum["coefficients"].sum() == pytest.approx(features.numel(), rel=1e-9)


@pytest.mark.parametrize("mode", ["symmetric", "periodization"])
def test_energies_are_those_of_pywavelets(mode):
    features = torch.randn(1, 3, 16, 16, 24, dtype=torch.float64)
    spectrum = stage_spectrum(features, level=2, mode=mode).set_index(["level", "band"])
    approximation, *details = decompose(features.numpy(), "db4", mode, 2)
    assert spectrum.loc[(2, "LLL"), "energy"] == pytest.approx(np.square(approximation).sum())
    for level, bands in zip((2, 1), details, strict=True):
        for band in DETAILS[3]:
            expected = np.square(bands[band.translate(LETTERS)]).sum()
            assert spectrum.loc[(level, band), "energy"] == pytest.approx(expected)


@pytest.mark.parametrize("mode", ["symmetric", "periodization"])
def test_snr_of_smooth_features_with_noise_is_lowest_in_hhh(mode):
    features = 20 * smooth(32) + 0.02 * torch.randn(1, 2, 32, 32, 32)
    spectrum = stage_spectrum(features, wavelet="haar", level=3, mode=mode)
    assert spectrum["noise"].iloc[0] ** 0.5 == pytest.approx(0.02, rel=0.1)
    details = spectrum[spectrum["band"] != "LLL"]
    lowest = details.loc[details.groupby("level")["energy_per_coefficient"].idxmin(), "band"]
    assert set(lowest) == {"HHH"}
    assert spectrum.set_index(["level", "band"]).loc[(3, "LLL"), "snr"] > 100


def test_noise_is_measured_where_the_image_is_and_not_in_the_padding():
    features = torch.zeros(1, 2, 32, 32, 32)
    features[..., :12, :, :] = 5 * torch.randn(1, 2, 12, 32, 32)
    inside = torch.zeros(1, 32, 32, 32, dtype=torch.bool)
    inside[:, :12] = True
    assert stage_spectrum(features)["noise"].iloc[0] < 1
    masked = stage_spectrum(features, inside=inside)
    assert masked["noise"].iloc[0] == pytest.approx(25, rel=0.15)
    assert masked["energy_per_coefficient"].iloc[0] == pytest.approx(25, rel=0.2)


def test_channels_of_unequal_noise_count_by_their_power():
    sigma = torch.tensor([1.0, 10.0]).view(1, 2, 1, 1, 1)
    spectrum = stage_spectrum(sigma * torch.randn(1, 2, 32, 32, 32))
    assert spectrum["noise"].iloc[0] == pytest.approx((1 + 100) / 2, rel=0.1)


def test_noise_of_features_that_are_flat_is_unknown():
    spectrum = stage_spectrum(torch.zeros(1, 2, 16, 16, 16))
    assert spectrum["snr"].isna().all()
    assert (spectrum["energy"] == 0).all()


@pytest.mark.parametrize(
    ("shape", "mode", "levels"),
    [
        ((40, 56, 40), "periodization", 3),
        ((20, 28, 20), "periodization", 2),
        ((10, 14, 10), "periodization", 1),
        ((5, 7, 5), "periodization", 0),
        ((40, 56, 40), "symmetric", 3),
        ((5, 7, 5), "symmetric", 2),
        ((1, 8, 8), "symmetric", 0),
    ],
)
def test_pyramid_goes_as_deep_as_the_stage_allows(shape, mode, levels):
    assert measurable_levels(shape, 3, mode) == levels
    spectrum = stage_spectrum(torch.randn(1, 2, *shape), mode=mode)
    assert spectrum["level"].max() == levels
    assert len(spectrum) == 7 * levels + 1
    assert list(spectrum["band"])[-1] == "LLL"


def test_pooled_cases_are_as_one_batch():
    cases = [torch.randn(1, 2, 20, 20, 20) for _ in range(3)]
    together = stage_spectrum(torch.cat(cases))
    pooled = pooled_spectrum(stage_spectrum(case).assign(stage=1) for case in cases)
    pd.testing.assert_frame_equal(pooled[together.columns], together, rtol=1e-6)


def test_directional_signal_leaves_out_noise_and_counts_an_eighth_a_level():
    bands = [(level, band) for level in (1, 2) for band in DETAILS[3]]
    frame = pd.DataFrame(bands, columns=["level", "band"]).assign(stage=1, noise=1.0)
    frame["energy_per_coefficient"] = frame["level"].map({1: 2.0, 2: 17.0})  # signal 1 and 16: 1/8 and 16/64 a band
    np.testing.assert_allclose(directional_signal(frame), [[1 / 3, 2 / 3]])
    assert worthwhile_levels(frame, share=0.3).loc[1] == 1
    assert worthwhile_levels(frame, share=0.95).loc[1] == 2
    frame["energy_per_coefficient"] = 0.5
    assert worthwhile_levels(frame).loc[1] == 0


def test_a_smooth_hill_needs_more_levels_than_fine_texture():
    hill = stage_spectrum(smooth(32).float(), wavelet="haar").assign(stage=1)
    texture = smooth(32).float() * (-1) ** torch.arange(32)  # changes sign from voxel to voxel along W
    fine = stage_spectrum(texture, wavelet="haar").assign(stage=2)
    levels = worthwhile_levels(pooled_spectrum([hill, fine]))
    assert levels.loc[1] == 3
    assert levels.loc[2] == 1


def test_filter_span_is_the_longest_response_to_an_impulse():
    assert [filter_span("db4", level) for level in (1, 2, 3)] == [8, 22, 50]
    assert [filter_span("haar", level) for level in (1, 2, 3)] == [2, 4, 8]


def test_unknown_wavelet_is_named():
    with pytest.raises(UnknownName, match="db44"):
        stage_spectrum(torch.randn(1, 1, 8, 8, 8), wavelet="db44")
