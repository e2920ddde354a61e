"""`nndistill diagnose`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from ...progress import StepProgress
from ..options import AsJson, Device, Fold, Workspace
from ..output import print_json, show

if TYPE_CHECKING:
    import pandas as pd


def diagnose(
    teacher: Annotated[Path, typer.Argument(help="Model folder of a trained nnU-Net.")],
    student: Annotated[
        Path | None,
        typer.Option(help="Model folder of a student, each of whose stages has the resolution of a teacher's stage."),
    ] = None,
    cases: Annotated[int, typer.Option(min=1, help="Number of validation cases to measure.")] = 4,
    fold: Fold = "0",
    wavelet: Annotated[str, typer.Option(help="Any discrete wavelet of PyWavelets.")] = "db4",
    level: Annotated[int, typer.Option(min=1, help="Number of levels; fewer if a stage is small.")] = 3,
    mode: Annotated[str, typer.Option(help="Boundary mode; periodization is exactly orthonormal.")] = "symmetric",
    stage: Annotated[int, typer.Option(help="Stage whose feature is drawn in its bands; 1 is the finest.")] = 1,
    downsampling: Annotated[
        Literal["decimation", "averaging"],
        typer.Option(help="How the figure of reductions halves the image; the paper's Figure 1 has decimation."),
    ] = "decimation",
    derivative: Annotated[
        Literal["x", "magnitude"],
        typer.Option(help="Derivative in that figure: along x, as in Figure 1, or the magnitude of the gradient."),
    ] = "x",
    device: Device = "auto",
    out: Annotated[Path, typer.Option(help="Folder for tables and figures.")] = Path("nndistill-diagnosis"),
    workspace: Workspace = None,
    as_json: AsJson = False,
) -> None:
    """Measure which wavelet bands of a teacher carry signal, at how many levels, and how far a student is from it."""
    from ...analysis.diagnosis import diagnose as measure
    from ...nnunet.workspace import use_workspace
    from ...reporting.diagnosis_report import diagnosis_numbers, diagnosis_sentences, write_diagnosis

    use_workspace(workspace)
    with StepProgress("cases") as report:
        diagnosis = measure(
            teacher,
            student_folder=student,
            fold=fold,
            cases=cases,
            wavelet=wavelet,
            level=level,
            mode=mode,
            stage=stage,
            device=device,
            progress=report,
        )
    files = write_diagnosis(diagnosis, out, downsampling=downsampling, derivative=derivative)
    if as_json:
        print_json({**diagnosis_numbers(diagnosis), "files": [str(file) for file in files]})
        return
    show(readable_spectrum(diagnosis.spectrum, diagnosis.sizes), f"SNR of every band in dB ({wavelet}, {mode})")
    if diagnosis.mismatch is not None:
        norms, relative = (readable_mismatch(diagnosis.mismatch, relative=asked) for asked in (False, True))
        show(norms, "Norm of the student's mismatch (Eq. 1 of the paper; φ in brackets), mean over cases")
        show(relative, "Relative mismatch of the student (squared norms; φ in brackets), mean over cases")
    for sentence in diagnosis_sentences(diagnosis):
        print(f"- {sentence}")
    print(f"\nTables and figures: {out}")


def readable_spectrum(spectrum: pd.DataFrame, sizes: list[tuple[int, ...]]) -> pd.DataFrame:
    """Arrange the SNR as a table that fits 80 columns: one row per stage and level, one column per band."""
    import numpy as np

    from ...analysis.spectrum import DETAILS

    cells = spectrum["snr"].map(
        lambda snr: "–" if np.isnan(snr) else f"{10 * np.log10(snr):.0f}" if snr > 10**-0.95 else "<-9"
    )
    table = spectrum.assign(cell=cells).pivot(index=["stage", "level"], columns="band", values="cell")
    ndim = len(sizes[0])
    table = table.reindex(columns=[*DETAILS[ndim], "L" * ndim]).fillna("").reset_index()
    first = ~table["stage"].duplicated()
    table.insert(0, "size", table["stage"].map(lambda s: "×".join(map(str, sizes[s - 1]))).where(first, ""))
    return table.set_index(table.pop("stage").astype(str).where(first, ""))


def readable_mismatch(mismatch: pd.DataFrame, *, relative: bool) -> pd.DataFrame:
    """Arrange the mismatch as a table: one row per stage, high and low for each φ."""
    import pandas as pd

    columns = {
        f"{band} ({origin})": rows.groupby("stage")[band if relative else f"{band}_norm"].mean()
        for origin, rows in mismatch.groupby("phi", sort=False)
        for band in ("high", "low")
    }
    return pd.DataFrame(columns).map(("{:.3f}" if relative else "{:.4g}").format).replace("nan", "–")
