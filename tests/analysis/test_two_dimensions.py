"""What is measured of volumes is measured of images: laws that hold in two dimensions."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch

from nndistill.analysis.bands import stage_bands
from nndistill.analysis.mismatch import LeastSquaresPhi, mismatch_norms
from nndistill.analysis.reductions import reduced_scales
from nndistill.analysis.spectrum import pooled_spectrum, stage_spectrum
from nndistill.nnunet.data.preprocessed_case import PreprocessedCase
from nndistill.reporting.figures.bands import draw_bands
from nndistill.reporting.text.spectrum_sentences import spectrum_sentences
from plain_wavelets import decompose, project


def images(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def test_energies_of_bands_are_those_of_pywavelets_and_sum_to_the_features() -> None:
    features = images(2, 3, 16, 24)
    spectrum = stage_spectrum(features, wavelet="db2", level=2, mode="periodization").set_index(["level", "band"])
    approximation, *details = decompose(features.numpy(), "db2", "periodization", 2, ndim=2)
    expected = {(2, "LL"): np.square(approximation).sum()}
    for level, bands in zip((2, 1), details, strict=True):
        expected |= {(level, key.replace("a", "L").replace("d", "H")): np.square(bands[key]).sum() for key in bands}
    assert spectrum["energy"].to_dict() == pytest.approx(expected)
    assert spectrum["energy"].sum() == pytest.approx(float(features.square().sum()))
    assert spectrum["coefficients"].sum() == pytest.approx(features.numel())


@pytest.mark.parametrize("mode", ["symmetric", "periodization"])
def test_white_noise_has_the_same_energy_in_every_band_and_is_measured(mode: str) -> None:
    spectrum = stage_spectrum(3 * images(4, 32, 48, 40), level=2, mode=mode)
    assert list(spectrum["band"]) == ["LH", "HL", "HH"] * 2 + ["LL"]
    np.testing.assert_allclose(spectrum["energy_per_coefficient"], 9, rtol=0.05)
    np.testing.assert_allclose(spectrum["noise"], 9, rtol=0.05)


def test_what_is_outside_the_image_does_not_count() -> None:
    features, inside = images(1, 8, 32, 32), torch.zeros(1, 32, 32, dtype=torch.bool)
    inside[:, :, :20] = True
    counted = stage_spectrum(features, inside=inside, level=1)
    changed = torch.where(inside, features, 0)
    np.testing.assert_allclose(counted["noise"], 1, rtol=0.2)
    assert counted["coefficients"].sum() < 0.75 * stage_spectrum(changed, level=1)["coefficients"].sum()


def test_sentences_speak_of_three_bands() -> None:
    spectrum = pooled_spectrum([stage_spectrum(images(1, 4, 64, 64), level=1).assign(stage=1)])
    said = " ".join(spectrum_sentences(spectrum, sizes=[(64, 64)], wavelet="db4", level=1))
    assert "of the three" in said
    assert "HHH" not in said
    assert "Fewer than" not in said
    few = " ".join(spectrum_sentences(spectrum, sizes=[(15, 17)], wavelet="db4", level=1))
    assert "Fewer than 64 finest HH coefficients per channel, so that noise and SNR are rough: stage 1 (15×17)" in few


def test_mismatch_of_images_is_that_of_projections() -> None:
    student, teacher = images(1, 2, 16, 12), images(1, 3, 16, 12, seed=1)
    fit = LeastSquaresPhi(2, 3, ndim=2)
    fit.add(student, teacher)
    phi = fit.solve()
    rows = torch.cat([student.flatten(2)[0], torch.ones(1, 16 * 12, dtype=torch.float64)])
    solution = torch.linalg.lstsq(rows.mT, teacher.flatten(2)[0].mT).solution
    torch.testing.assert_close(phi.weight.flatten(1), solution[:2].mT)
    norms = mismatch_norms(teacher, student, phi, wavelet="db2", level=2)
    difference = (teacher - phi(student)).numpy()
    for norm, bands in ((norms.low, "A"), (norms.high, "D+S")):
        assert norm == pytest.approx(np.linalg.norm(project(difference, bands, "db2", "symmetric", 2, ndim=2)))


def test_bands_of_an_image_add_up_and_are_drawn() -> None:
    teacher = images(1, 3, 24, 16).float()
    bands = stage_bands(teacher, 0.5 * teacher)
    assert bands is not None
    parts = bands.teacher
    assert parts.feature.shape == (1, 24, 16)
    np.testing.assert_allclose(parts.low + parts.directional + parts.diagonal, parts.feature, atol=1e-5)
    drawing = draw_bands(bands, stage=1, case="case", spacing=(2.0, 1.0), phi="run")
    assert drawing.caption.startswith(f"Channel {bands.channel}, the one in which")
    assert "LL, D and HH of level 1" in drawing.caption
    assert "HHH" not in drawing.caption


def test_image_is_halved_along_both_axes() -> None:
    image = np.random.default_rng(0).normal(size=(9, 6))
    decimated, averaged = (
        reduced_scales(image, (2, 0.5), reductions=1, downsampling=by) for by in ("decimation", "averaging")
    )
    np.testing.assert_array_equal(decimated[1].image, image[::2, ::2])
    assert averaged[1].image[0, 0] == pytest.approx(image[:2, :2].mean())
    np.testing.assert_allclose(decimated[1].derivative, np.gradient(image[::2, ::2], 1.0, axis=1))


def test_patch_of_two_axes_is_the_slice_in_the_centre_of_the_foreground() -> None:
    image, segmentation = np.random.default_rng(0).normal(size=(2, 5, 12, 10)), np.zeros((5, 12, 10))
    segmentation[1:4, 2:6, 3:9] = 1
    case = PreprocessedCase("case", image, segmentation)
    patch = case.patch((4, 16))
    assert patch.image.shape == (1, 2, 4, 16)
    assert patch.inside.shape == (1, 4, 16)
    np.testing.assert_allclose(patch.image[0, :, :, 3:13], image[:, 2, 2:6].astype(np.float32))
    assert patch.inside[:, :, 3:13].all()
    assert not patch.inside[:, :, 13:].any()


def test_pooled_directional_signal_weighs_levels_by_their_share_of_an_image() -> None:
    from nndistill.analysis.spectrum import directional_signal

    rows = [{"stage": 1, "level": level, "band": "LH", "energy_per_coefficient": 2.0, "noise": 1.0} for level in (1, 2)]
    assert directional_signal(pd.DataFrame(rows)).iloc[0].to_list() == pytest.approx([0.8, 0.2])
