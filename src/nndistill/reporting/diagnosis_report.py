"""A diagnosis on disk: tables, JSON, figures, and sentences about them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from ..analysis.diagnosis import Diagnosis
from ..analysis.reductions import Derivative, Downsampling, reduced_scales
from ..files import atomic_path, write_json
from .figures.bands import draw_bands
from .figures.drawing import Drawing
from .figures.mismatch import draw_mismatch
from .figures.reductions import draw_reductions
from .figures.spectrum import draw_spectrum
from .text.spectrum_sentences import mismatch_sentences, spectrum_sentences

FORMATS = ("png", "svg")
HALVED: dict[Downsampling, str] = {"decimation": "every second voxel", "averaging": "means of {} voxels"}


def diagnosis_sentences(diagnosis: Diagnosis) -> list[str]:
    """What the numbers mean for this teacher, and for this student if there is one."""
    spectrum = spectrum_sentences(
        diagnosis.spectrum,
        sizes=diagnosis.sizes,
        wavelet=diagnosis.settings["wavelet"],
        level=diagnosis.settings["level"],
    )
    if diagnosis.mismatch is not None:
        spectrum += mismatch_sentences(diagnosis.mismatch)
    if diagnosis.bands is None:
        spectrum.append(f"Stage {diagnosis.shown_stage} cannot be split, so its bands are not drawn.")
    return spectrum


def bands_drawing(diagnosis: Diagnosis) -> Drawing | None:
    """The bands of one stage of the first case as pictures; `None` if it cannot be split."""
    if diagnosis.bands is None:
        return None
    size = diagnosis.sizes[diagnosis.shown_stage - 1]
    return draw_bands(
        diagnosis.bands,
        stage=diagnosis.shown_stage,
        case=diagnosis.example.name,
        spacing=[mm * whole / n for mm, whole, n in zip(diagnosis.spacing, diagnosis.patch, size, strict=True)],
        phi=diagnosis.shown_phi,
    )


def diagnosis_numbers(diagnosis: Diagnosis) -> dict[str, Any]:
    """Everything as plain values, for JSON; unknown values are `None`."""
    drawing = bands_drawing(diagnosis)
    return {
        "teacher": str(diagnosis.teacher),
        "student": None if diagnosis.student is None else str(diagnosis.student),
        "settings": diagnosis.settings,
        "cases": diagnosis.cases,
        "phi_fitted_on": diagnosis.fitted_on,
        "stages": [list(size) for size in diagnosis.sizes],
        "spectrum": _records(diagnosis.spectrum),
        "mismatch": None if diagnosis.mismatch is None else _records(diagnosis.mismatch),
        "bands": None if drawing is None else {"stage": diagnosis.shown_stage, "caption": drawing.caption},
        "sentences": diagnosis_sentences(diagnosis),
    }


def write_diagnosis(
    diagnosis: Diagnosis,
    folder: Path,
    *,
    downsampling: Downsampling = "decimation",
    derivative: Derivative = "x",
) -> list[Path]:
    """Write `spectrum.json`, `spectrum.csv`, figures as PNG and SVG, and `mismatch.csv` if there is a student.

    Args:
        diagnosis: What was measured.
        folder: Folder to write to; files of the same names are replaced.
        downsampling: How the image in the figure of reductions is halved; the paper's Figure 1 shows decimation.
        derivative: Which of its derivatives is drawn; Figure 1 shows the one along x.

    Returns:
        The files that were written.
    """
    files = [folder / "spectrum.json", folder / "spectrum.csv"]
    write_json(files[0], diagnosis_numbers(diagnosis))
    tables = {files[1]: diagnosis.spectrum}
    if diagnosis.mismatch is not None:
        tables[folder / "mismatch.csv"] = diagnosis.mismatch
    for path, table in tables.items():
        with atomic_path(path) as file:
            table.to_csv(file, index=False)
    files = [files[0], *tables]

    example = diagnosis.example
    ndim = len(diagnosis.spacing)
    shown = example.image[0] if ndim == 3 else example.image[0, example.centre[0]]
    scales = reduced_scales(shown, diagnosis.spacing, downsampling=downsampling, derivative=derivative)
    for ending in FORMATS:
        path = folder / f"spectrum.{ending}"
        draw_spectrum(diagnosis.spectrum, path, sizes=diagnosis.sizes, title=_plans_name(diagnosis.teacher))
        files.append(path)
        if diagnosis.mismatch is not None and diagnosis.student is not None:
            path = folder / f"mismatch.{ending}"
            draw_mismatch(diagnosis.mismatch, path, title=_plans_name(diagnosis.student))
            files.append(path)
        path = folder / f"reductions.{ending}"
        draw_reductions(
            scales,
            path,
            slice_index=example.centre[0],
            spacing=diagnosis.spacing,
            derivative=derivative,
            title=f"{example.name}, channel 0: {HALVED[downsampling].format('×'.join('2' * ndim))}",
        )
        files.append(path)
    drawing = bands_drawing(diagnosis)
    return files if drawing is None else [*files, *drawing.write(folder)]


def _plans_name(model: Path) -> str:
    """The middle of `TRAINER__PLANS__CONFIGURATION`."""
    parts = model.resolve().name.split("__")
    return parts[1] if len(parts) == 3 else parts[0]


def _records(frame: pd.DataFrame) -> list[dict[str, Any]]:
    rows = frame.astype(object).where(frame.notna(), None).to_dict(orient="records")
    return [{str(column): value for column, value in row.items()} for row in rows]
