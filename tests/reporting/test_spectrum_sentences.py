"""Sentences follow from the numbers, and from nothing else."""

from __future__ import annotations

import pandas as pd
import pytest

from nndistill.analysis.spectrum import DETAILS
from nndistill.reporting.text.spectrum_sentences import mismatch_sentences, spectrum_sentences


def spectrum(energies: dict[tuple[int, int], float], *, noise: float = 1.0, hhh: float = 0.5) -> pd.DataFrame:
    """Every band of a stage and level has the given energy per coefficient, HHH a part of it."""
    rows = [
        {"stage": stage, "level": level, "band": band, "energy_per_coefficient": energy * (hhh if band == "HHH" else 1)}
        for (stage, level), energy in energies.items()
        for band in DETAILS[3]
    ]
    frame = pd.DataFrame(rows).assign(noise=noise)
    return frame.assign(snr=(frame["energy_per_coefficient"] / frame["noise"] - 1).clip(lower=0))


def sentences(frame: pd.DataFrame, *, size: int = 64, level: int = 2, wavelet: str = "haar") -> str:
    stages = frame["stage"].max()
    return "\n".join(spectrum_sentences(frame, sizes=[(size,) * 3] * stages, wavelet=wavelet, level=level))


def test_bands_with_less_signal_than_noise_are_named():
    text = sentences(spectrum({(1, 1): 3.0, (1, 2): 100.0, (2, 1): 1.2, (2, 2): 9.0}))
    assert "20 of the 28 detail bands carry signal" in text
    assert "stage 1, level 1: HHH; stage 2, level 1: all seven." in text


def test_all_bands_carry_signal():
    assert "All 14 detail bands carry signal (SNR of at least 1).\n" in sentences(spectrum({(1, 1): 9.0, (1, 2): 9.0}))


def test_flat_features_have_no_noise_to_compare_with():
    text = sentences(spectrum({(1, 1): 9.0, (1, 2): 9.0}, noise=float("nan")))
    assert "At stage 1 no noise was found" in text
    assert "carry signal" not in text


def test_hhh_is_called_the_worst_only_where_it_is():
    assert "HHH has the lowest SNR of the seven at all 2 measured levels" in sentences(spectrum({(1, 1): 9, (1, 2): 9}))
    frame = spectrum({(1, 1): 9, (1, 2): 9})
    frame.loc[(frame["level"] == 2) & (frame["band"] == "LHH"), "energy_per_coefficient"] = 1.5
    text = sentences(frame)
    assert "at 1 of 2 measured levels. Lower than HHH: LHH at stage 1, level 2." in text


def test_depth_is_the_fewest_levels_with_95_percent():
    shallow = spectrum({(1, 1): 101.0, (1, 2): 2.0, (2, 1): 101.0, (2, 2): 2.0})
    text = sentences(shallow)
    assert "hold 95% of the directional signal found: 1 at stage 1, 1 at stage 2." in text
    assert "So a pyramid of 1 level is deep enough: deeper levels hold at most 5% anywhere." in text
    text = sentences(spectrum({(1, 1): 9.0, (1, 2): 65.0}))
    assert "Level 2, the deepest that was asked for, still holds 50% at stage 1" in text
    assert "So" not in text


def test_no_directional_signal_is_said():
    assert "No directional signal was found at any level." in sentences(spectrum({(1, 1): 0.9, (1, 2): 0.5}))


def test_small_stages_are_called_small_and_rough():
    frame = spectrum({(1, 1): 9.0, (1, 2): 9.0, (2, 1): 9.0})
    text = "\n".join(spectrum_sentences(frame, sizes=[(32, 32, 32), (7, 7, 7)], wavelet="db4", level=2))
    assert "Too small for 2 levels, so that fewer were measured: 1 at stage 2 (7×7×7)." in text
    assert "Fewer than 64 finest HHH coefficients per channel" in text
    assert (
        "db4 reads 8 and 22 samples at levels 1 and 2, more than the shortest axis has at stage 2 from level 1" in text
    )
    assert "stage 1 from" not in text


VERDICTS = [
    ([0.6, 0.7], "holds (larger in every case) at stage 1"),
    ([0.1, 0.2], "does not hold (larger in no case) at stage 1"),
    ([0.6, 0.2], "is undecided at stage 1 (larger in 1 of 2 cases)"),
]


def mismatch(*, norms: tuple[list[float], float], relative: tuple[list[float], float]) -> pd.DataFrame:
    """Cases of one stage, high and low."""
    values = {"high_norm": norms[0], "low_norm": norms[1], "high": relative[0], "low": relative[1]}
    return pd.DataFrame(
        {"stage": 1, "phi": "least squares", "case": [f"case {i}" for i, _ in enumerate(norms[0])], **values}
    )


@pytest.mark.parametrize(("high", "verdict"), VERDICTS)
def test_equation_1_is_judged_by_the_norms_case_by_case(high, verdict):
    sentence, _ = mismatch_sentences(mismatch(norms=([100 * h for h in high], 40.0), relative=([0.9, 0.9], 0.1)))
    assert sentence.startswith("Eq. 1 of the paper")
    assert verdict in sentence
    assert f"{50 * sum(high):.3g} and 40 at stage 1" in sentence


@pytest.mark.parametrize(("high", "verdict"), VERDICTS)
def test_the_relative_mismatch_is_judged_beside_it(high, verdict):
    _, sentence = mismatch_sentences(mismatch(norms=([3.0, 3.0], 7.0), relative=(high, 0.4)))
    assert sentence.startswith("A larger relative mismatch")
    assert verdict in sentence
    assert f"{sum(high) / 2:.2f} and 0.40 at stage 1" in sentence


def test_a_mismatch_above_one_is_worse_than_zeros():
    frame = mismatch(norms=([0.5], 1.7), relative=([0.5], 1.7)).assign(phi="run")
    assert (
        "Where the relative mismatch through the run's own φ is above 1, zeros would be closer"
        in mismatch_sentences(frame)[2]
    )


def test_stages_without_high_bands_are_not_judged():
    nothing = [float("nan")]
    assert mismatch_sentences(mismatch(norms=(nothing, 3.0), relative=(nothing, 0.5))) == []
