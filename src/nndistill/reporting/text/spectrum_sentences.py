"""Sentences that say what a spectrum and a mismatch mean; they follow from the numbers by the stated rules alone."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import prod

import pandas as pd

from ...analysis.spectrum import DETAILS, dimensions_of, directional_signal, filter_span, worthwhile_levels

SIGNAL = 1.0
"""A band carries signal if its SNR is at least this."""
ENOUGH = 0.95
"""A pyramid is deep enough if it holds this share of the directional signal."""
FEW = 64
"""With fewer finest HHH coefficients per channel (an eighth of the voxels; of an image HH, a quarter), the noise is a
rough estimate."""
NUMBERS = {3: "three", 7: "seven"}
"""How many detail bands there are, in words."""


def spectrum_sentences(
    spectrum: pd.DataFrame, *, sizes: Sequence[Sequence[int]], wavelet: str, level: int
) -> list[str]:
    """Say which bands carry signal, whether HHH is the worst, how many levels to use, and what limits these statements.

    Args:
        spectrum: From `nndistill.analysis.spectrum.pooled_spectrum`.
        sizes: Voxels of each stage along each axis.
        wavelet: The wavelet of the measurement.
        level: The number of levels that was asked for.
    """
    shapes = {stage: "×".join(map(str, size)) for stage, size in enumerate(sizes, start=1)}
    measured = {stage: int(spectrum.loc[spectrum["stage"] == stage, "level"].max()) for stage in shapes}
    return [
        *_signal(spectrum),
        *_worst_band(spectrum),
        *_depth(spectrum, measured, level),
        *_limits(measured, level, shapes),
        *_reach(measured, sizes, wavelet),
        *_rough(measured, sizes, shapes),
    ]


def mismatch_sentences(mismatch: pd.DataFrame) -> list[str]:
    """Say at which stages the student is further from its teacher in the high than in the low bands.

    Eq. 1 is judged by the norms, as in the paper; the same question about the relative mismatch is answered beside it.

    Args:
        mismatch: From `nndistill.analysis.diagnosis.diagnose`.
    """
    sentences = []
    for origin, rows in mismatch.groupby("phi", sort=False):
        name = "the run's own φ" if origin == "run" else "the least-squares φ"
        claim = f"Eq. 1 of the paper, a larger norm of the mismatch in the high than in the low bands, through {name}"
        sentences += _larger_in_the_high_bands(rows, "high_norm", "low_norm", claim, ".3g")
        claim = f"A larger relative mismatch in the high than in the low bands, through {name}"
        sentences += _larger_in_the_high_bands(rows, "high", "low", claim, ".2f")
        if (rows.groupby("stage")[["high", "low"]].mean() > 1).to_numpy().any():
            sentences.append(
                f"Where the relative mismatch through {name} is above 1, zeros would be closer to the teacher."
            )
    return sentences


def _larger_in_the_high_bands(rows: pd.DataFrame, high: str, low: str, claim: str, digits: str) -> list[str]:
    """One sentence about one column of the high bands and one of the low; none if no stage has both."""
    by_stage = rows.dropna(subset=[high, low]).assign(larger=rows[high] > rows[low]).groupby("stage")
    cases, larger = by_stage.size(), by_stage["larger"].sum()
    verdicts = {
        "holds (larger in every case)": larger.index[larger == cases],
        "does not hold (larger in no case)": larger.index[larger == 0],
    }
    parts = [f"{verdict} at {_stages(stages)}" for verdict, stages in verdicts.items() if len(stages)]
    parts += [
        f"is undecided at stage {stage} (larger in {larger[stage]} of {cases[stage]} cases)"
        for stage in larger.index[(larger > 0) & (larger < cases)]
    ]
    means = by_stage[[high, low]].mean()
    values = ", ".join(
        f"{row[high]:{digits}} and {row[low]:{digits}} at stage {stage}" for stage, row in means.iterrows()
    )
    return [f"{claim}, {'; '.join(parts)}: on average {values}."] if parts else []


def _signal(spectrum: pd.DataFrame) -> list[str]:
    ndim = dimensions_of(spectrum)
    details = spectrum[spectrum["band"].isin(DETAILS[ndim])]
    number = len(DETAILS[ndim])
    known = details.dropna(subset="snr")
    silent = [int(stage) for stage in details["stage"].unique() if stage not in set(known["stage"])]
    sentences = []
    if len(known):
        weak = known[known["snr"] < SIGNAL]
        where = [
            f"stage {stage}, level {at}: {f'all {NUMBERS[number]}' if len(rows) == number else ', '.join(rows['band'])}"
            for (stage, at), rows in weak.groupby(["stage", "level"])
        ]
        count = f"all {len(known)}" if weak.empty else f"{len(known) - len(weak)} of the {len(known)}"
        noise = "" if weak.empty else f" Mostly noise: {'; '.join(where)}."
        sentences.append(f"{count.capitalize()} detail bands carry signal (SNR of at least {SIGNAL:g}).{noise}")
    if silent:
        sentences.append(
            f"At {_stages(silent)} no noise was found: the median of the finest {'H' * ndim} is zero, so there is no "
            "SNR."
        )
    return sentences


def _worst_band(spectrum: pd.DataFrame) -> list[str]:
    ndim = dimensions_of(spectrum)
    highest, number = "H" * ndim, NUMBERS[len(DETAILS[ndim])]
    details = spectrum[spectrum["band"].isin(DETAILS[ndim]) & (spectrum["energy_per_coefficient"] > 0)]
    if details.empty:
        return []
    # the noise of a stage is the same in every band, so the order of the energies is that of the SNR
    lowest = details.loc[details.groupby(["stage", "level"])["energy_per_coefficient"].idxmin()]
    others = lowest[lowest["band"] != highest]
    claim = f"{highest} has the lowest SNR of the {number} at"
    if others.empty:
        return [f"{claim} all {len(lowest)} measured levels, as Proposition 1 expects."]
    exceptions = "; ".join(f"{row.band} at stage {row.stage}, level {row.level}" for row in others.itertuples())
    return [
        f"{claim} {len(lowest) - len(others)} of {len(lowest)} measured levels. Lower than {highest}: {exceptions}."
    ]


def _depth(spectrum: pd.DataFrame, measured: dict[int, int], level: int) -> list[str]:
    if not any(measured.values()):
        return []
    needed = {stage: levels for stage, levels in worthwhile_levels(spectrum, share=ENOUGH).to_dict().items() if levels}
    if not needed:
        return ["No directional signal was found at any level."]
    each = ", ".join(f"{levels} at stage {stage}" for stage, levels in needed.items())
    sentences = [f"Levels that hold {ENOUGH:.0%} of the directional signal found: {each}."]
    unended = [stage for stage, levels in needed.items() if levels == level]
    if unended:
        share = directional_signal(spectrum)[level].to_dict()
        last = ", ".join(f"{share[stage]:.0%} at stage {stage}" for stage in unended)
        sentences.append(
            f"Level {level}, the deepest that was asked for, still holds {last}: so all {level} are worth it there, "
            "and a larger level would show whether more are."
        )
    else:
        deepest = max(needed.values())
        sentences.append(
            f"So a pyramid of {deepest} level{'s' * (deepest > 1)} is deep enough: deeper levels hold at most "
            f"{1 - ENOUGH:.0%} anywhere."
        )
    return sentences


def _limits(measured: dict[int, int], level: int, shapes: dict[int, str]) -> list[str]:
    small = {stage: levels for stage, levels in measured.items() if levels < level}
    if not small:
        return []
    each = ", ".join(f"{levels} at stage {stage} ({shapes[stage]})" for stage, levels in small.items())
    return [f"Too small for {level} levels, so that fewer were measured: {each}."]


def _reach(measured: dict[int, int], sizes: Sequence[Sequence[int]], wavelet: str) -> list[str]:
    spans = {at: filter_span(wavelet, at) for at in range(1, max(measured.values()) + 1)}
    reaching = []
    for (stage, deepest), size in zip(measured.items(), sizes, strict=True):
        longer = [at for at in range(1, deepest + 1) if spans[at] > min(size)]
        if longer:
            reaching.append(f"stage {stage} from level {longer[0]}")
    if not reaching:
        return []
    lengths = f"{_listed(spans.values())} samples at level{'s' * (len(spans) > 1)} {_listed(spans)}"
    return [
        f"{wavelet} reads {lengths}, more than the shortest axis has at {', '.join(reaching)}: what is "
        "measured there depends on how features are extended beyond their ends."
    ]


def _rough(measured: dict[int, int], sizes: Sequence[Sequence[int]], shapes: dict[int, str]) -> list[str]:
    ndim = len(sizes[0])
    few = [stage for stage, size in enumerate(sizes, start=1) if measured[stage] and prod(size) < 2**ndim * FEW]
    if not few:
        return []
    each = ", ".join(f"stage {stage} ({shapes[stage]})" for stage in few)
    return [f"Fewer than {FEW} finest {'H' * ndim} coefficients per channel, so that noise and SNR are rough: {each}."]


def _stages(stages: Iterable[int]) -> str:
    numbers = list(stages)
    return f"stage{'s' * (len(numbers) > 1)} {_listed(numbers)}"


def _listed(things: Iterable[object]) -> str:
    *first, last = map(str, things)
    return f"{', '.join(first)} and {last}" if first else last
