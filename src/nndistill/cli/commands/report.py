"""`nndistill report`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from ..options import AsJson, Workspace
from ..output import print_json, show


def report(
    runs: Annotated[list[Path], typer.Argument(help="Model folders of nnU-Net: a teacher and its students.")],
    out: Annotated[Path, typer.Option(help="Folder for report.html, tables and figures.")] = Path("nndistill-report"),
    names: Annotated[
        list[str] | None,
        typer.Option(
            help="Headings of the models, in their order: --names Teacher Alone DCD. "
            "Default: the methods and their options."
        ),
    ] = None,
    fold: Annotated[
        str | None, typer.Option(help="Fold to report on. Default: the only one that all models have.")
    ] = None,
    predictions: Annotated[
        list[Path] | None,
        typer.Option(
            help="One folder of predictions per model, in the same order. Default: the fold's validation cases."
        ),
    ] = None,
    labels: Annotated[Path | None, typer.Option(help="Reference label maps for --predictions.")] = None,
    images: Annotated[
        Path | None,
        typer.Option(help="Images, named as in nnU-Net. Default: those of the data set, or imagesTs next to labelsTs."),
    ] = None,
    baseline: Annotated[
        str | None,
        typer.Option(
            help="Name of the model to compare with. Default: the student without distillation, or else the teacher."
        ),
    ] = None,
    case: Annotated[
        str | None, typer.Option(help="Case to draw. Default: the one on which the students differ most.")
    ] = None,
    slice_index: Annotated[
        int | None,
        typer.Option("--slice", help="Axial slice to draw. Default: the one on which the models differ most."),
    ] = None,
    channel: Annotated[
        str | None, typer.Option(help="Channel to draw, by its name in dataset.json. Default: the first.")
    ] = None,
    protocol: Annotated[
        str, typer.Option(help="Protocol of the metrics: default, laboratory, nnunet, brats2024, brats2025, brats2026.")
    ] = "default",
    patients: Annotated[
        Path | None,
        typer.Option(
            help="Table with the columns case and patient, or a report.json. Default: the data set's report.json."
        ),
    ] = None,
    tolerance: Annotated[
        float | None, typer.Option(min=0, help="Tolerance of NSD in mm. Default: the protocol's.")
    ] = None,
    definition: Annotated[
        Literal["surface_elements", "boundary_voxels"] | None,
        typer.Option(
            help="Definition of a surface: surface_elements (DeepMind's) or boundary_voxels (MONAI's). "
            "Default: the protocol's."
        ),
    ] = None,
    both_empty: Annotated[
        str | None,
        typer.Option(
            help="What counts if both masks are empty: leave-out, or one for Dice 1, NSD 1 and HD95 0 (BraTS). "
            "Default: the protocol's."
        ),
    ] = None,
    benchmark: Annotated[
        Path | None, typer.Option(help="JSON file with latency_s and memory_bytes per model, for the table of costs.")
    ] = None,
    title: Annotated[str | None, typer.Option(help="Heading of the page. Default: Distillation report.")] = None,
    jobs: Annotated[
        int | None, typer.Option(min=1, help="Number of processes. Default: one per processor core.")
    ] = None,
    workspace: Workspace = None,
    as_json: AsJson = False,
) -> None:
    """Compare trained models in tables, figures, statistics and an HTML page that holds them all."""
    from ...nnunet.models.trained_folds import refuse_several_folds

    if fold is None:
        refuse_several_folds(runs, predictions=bool(predictions))  # before the imports below, which take long

    from ...evaluation.patients import read_patients
    from ...gather import EvaluationSettings, gather_results
    from ...nnunet.workspace import use_workspace
    from ...progress import StepProgress
    from ...reporting import write_report
    from ...runtime.machine import usable_cores

    use_workspace(workspace)
    with StepProgress("measuring") as progress:
        models, cases = gather_results(
            runs,
            names=names or (),
            fold=fold,
            predictions=predictions or (),
            references=labels,
            images=images,
            measured=EvaluationSettings(
                protocol=protocol,
                tolerance=tolerance,
                definition=definition,
                both_empty=both_empty and both_empty.replace("-", "_"),  # type: ignore[arg-type]
                jobs=jobs or usable_cores(),
            ),
            patients=read_patients(patients) if patients else None,
            benchmark=benchmark,
            progress=progress,
        )
    made = write_report(
        models,
        cases,
        out,
        title=title or "Distillation report",
        baseline=baseline,
        case=case,
        slice_index=slice_index,
        channel=channel,
    )
    if as_json:
        print_json(made.numbers)
        return
    show(made.tables["overall"].texts, "Mean ± SEM over cases")
    print(f"\nReport:  {made.page}\nTables:  {out / 'tables'}\nFigures: {out / 'figures'}")
