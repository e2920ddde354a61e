"""`nndistill predict`."""

from __future__ import annotations

import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from ...errors import UserError
from ...progress import PredictionProgress, console
from ...runtime.formats import RUNTIMES
from ..options import AsJson, Folds
from ..output import print_json, print_next


def predict(
    model: Annotated[
        Path,
        typer.Argument(help="Folder that nndistill export made, or a trained nnU-Net's model folder (torch only)."),
    ],
    images: Annotated[
        Path, typer.Argument(metavar="INPUT", help="Folder with CASE_0000.nii.gz, …, or the first file of one case.")
    ],
    output: Annotated[Path, typer.Argument(help="Folder for the label maps, CASE.nii.gz.")],
    backend: Annotated[
        str | None, typer.Option(help=f"Runtime: {', '.join(RUNTIMES)}. Default: the one for the model's format.")
    ] = None,
    device: Annotated[
        str, typer.Option(help="cpu, cuda, gpu (Intel's), mps, or auto, which depends on the backend.")
    ] = "auto",
    fold: Folds = None,
    overlap: Annotated[
        float | None,
        typer.Option(min=0, max=0.9, help="Share of each window that the next one covers too. Default: the model's."),
    ] = None,
    mirror: Annotated[
        bool,
        typer.Option(help="Average over mirrorings, as nnU-Net does; --no-mirror is up to eight times as fast."),
    ] = True,
    all_windows: Annotated[
        bool, typer.Option("--all-windows", help="Also compute windows that hold only background air.")
    ] = False,
    any_orientation: Annotated[
        bool, typer.Option("--any-orientation", help="Accept images in another orientation than the training images'.")
    ] = False,
    allow_empty_channel: Annotated[
        bool,
        typer.Option(
            "--allow-empty-channel", help="Accept channels that are all zero, of a contrast that was not acquired."
        ),
    ] = False,
    probabilities: Annotated[
        bool,
        typer.Option("--probabilities", help="Also write the probabilities as nnU-Net does: CASE.npz and CASE.pkl."),
    ] = False,
    probabilities_nifti: Annotated[
        bool,
        typer.Option(
            "--probabilities-nifti", help="Also write them as probabilities/CASE.nii.gz, a volume per label or region."
        ),
    ] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace label maps of earlier runs.")] = False,
    as_json: AsJson = False,
) -> None:
    """Predict the label maps of a folder of images, and keep those of an earlier run."""
    from ...runtime.cases import find_cases, unused_files
    from ...runtime.loading import load_model
    from ...runtime.predictor import predict_cases
    from ...runtime.probabilities import ProbabilityFormat
    from ...runtime.record import RECORD

    wanted: dict[ProbabilityFormat, bool] = {"npz": probabilities, "nifti": probabilities_nifti}
    formats = [name for name, is_wanted in wanted.items() if is_wanted]
    loaded = load_model(model, backend=backend, device=device, fold=fold)
    cases = find_cases(images, loaded.description)
    unused = unused_files(images, loaded.description)
    for name, reason in unused.items():
        console.print(
            f"not predicted: {images / name} {reason}.", style="yellow", highlight=False, markup=False, soft_wrap=True
        )
    with PredictionProgress(len(cases)) as progress:
        predictions = predict_cases(
            loaded,
            cases,
            output,
            overlap=overlap,
            mirror=mirror,
            skip_air=not all_windows,
            any_orientation=any_orientation,
            allow_empty_channel=allow_empty_channel,
            probabilities=formats,
            overwrite=overwrite,
            progress=progress,
        )
    record = output / RECORD
    finished = len(predictions.done) + len(predictions.kept)
    if as_json:
        outcomes = {key: value for key, value in asdict(predictions).items() if key != "options"}
        print_json({"output": str(output), "record": str(record), **outcomes, "not_used": unused})
    elif finished:
        kept = f", {len(predictions.kept)} of them from an earlier run" if predictions.kept else ""
        print(f"Label maps: {output} ({finished} cases{kept})\nRecord:     {record}")
        calibration = ["--probabilities", output] if formats else []
        print_next("nndistill", "evaluate", output, "LABELS", *calibration, heading="Next:       ")
    if predictions.failed:
        failures = "".join(f"\n  - {case}: {sentence}" for case, sentence in predictions.failed.items())
        sentence = f"{len(predictions.failed)} of {len(cases)} cases were not predicted, see {record}:{failures}"
        if predictions.faults:
            print(f"error: {sentence}", file=sys.stderr)
            raise typer.Exit(1)
        raise UserError(sentence, option=tuple(predictions.options))
