"""`nndistill prepare`: a command a data set."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from ...progress import StepProgress, console
from ..options import AsJson, DatasetId, Workspace
from ..output import print_json, show, workspace_option

if TYPE_CHECKING:
    from ...datasets.preparation.report import Report
    from ...datasets.source import Source

prepare = typer.Typer(help="Bring a public data set into nnU-Net's raw format.", no_args_is_help=True)

SHOWN = 20
"""Damaged cases told on the terminal; all are in the report."""

Split = Annotated[str, typer.Option(help="Folds: patient, nnunet (stock, by case), or a file like splits_final.json.")]
OnError = Annotated[Literal["stop", "skip"], typer.Option(help="Stop at damaged cases, or leave them out.")]
Copy = Annotated[bool, typer.Option("--copy", help="Copy all files; default: the data set names their paths.")]
Jobs = Annotated[int | None, typer.Option(min=1, help="Cases to read at a time; default: one a core, at most 8.")]
EmptyLabels = Annotated[bool, typer.Option("--allow-empty", help="Let pass label maps with nothing but background.")]


@prepare.command()
def decathlon(
    source: Annotated[Path, typer.Argument(help="A task's folder, with its dataset.json.")],
    dataset_id: DatasetId,
    allow_empty: EmptyLabels = False,
    split: Split = "patient",
    on_error: OnError = "stop",
    copy: Copy = False,
    jobs: Jobs = None,
    workspace: Workspace = None,
    as_json: AsJson = False,
) -> None:
    """Any task of the Medical Segmentation Decathlon, 3D or 4D."""
    from ...datasets import find_decathlon

    found = find_decathlon(source, empty_labels=allow_empty)
    _prepare(found, dataset_id, workspace, as_json, split=split, on_error=on_error, copy=copy, jobs=jobs)


@prepare.command()
def brats2024(
    source: Annotated[list[Path], typer.Argument(help="Unpacked archives: training data, additional training data.")],
    dataset_id: DatasetId,
    regions: Annotated[
        bool, typer.Option("--regions", help="Train on whole tumour, tumour core, ET and RC instead of the labels.")
    ] = False,
    allow_empty: EmptyLabels = False,
    split: Split = "patient",
    on_error: OnError = "stop",
    copy: Copy = False,
    jobs: Jobs = None,
    workspace: Workspace = None,
    as_json: AsJson = False,
) -> None:
    """BraTS 2024 GLI: gliomas after treatment, four contrasts."""
    from ...datasets import find_brats2024

    found = find_brats2024(source, regions=regions, empty_labels=allow_empty)
    _prepare(found, dataset_id, workspace, as_json, split=split, on_error=on_error, copy=copy, jobs=jobs)


@prepare.command()
def isles2022(
    source: Annotated[Path, typer.Argument(help="The unpacked archive, or the challenge's sample.")],
    dataset_id: DatasetId,
    grid: Annotated[
        Literal["flair", "dwi"], typer.Option(help="Image onto whose voxels the others are resampled.")
    ] = "flair",
    split: Split = "patient",
    on_error: OnError = "stop",
    copy: Copy = False,
    jobs: Jobs = None,
    workspace: Workspace = None,
    as_json: AsJson = False,
) -> None:
    """ISLES 2022: acute strokes, FLAIR, DWI and ADC."""
    from ...datasets import find_isles2022

    found = find_isles2022(source, grid=grid)
    _prepare(found, dataset_id, workspace, as_json, split=split, on_error=on_error, copy=copy, jobs=jobs)


def _prepare(found: Source, dataset_id: int, workspace: Path | None, as_json: bool, **options: Any) -> None:
    from ...datasets import DamagedData
    from ...datasets import prepare as prepare_source
    from ...nnunet.workspace import raw_folder, use_workspace

    use_workspace(workspace)
    try:
        with StepProgress("checking and placing") as progress:
            report = prepare_source(found, raw_folder(), dataset_id=dataset_id, progress=progress, **options)
    except DamagedData as error:
        _tell_damage(error.report)
        raise
    _tell_damage(report)
    if as_json:
        print_json(report.summary())
        return
    _show(report)
    print(f"{report.folder} is ready; {report.path.name} in it has the details.")
    print(f"Next: nndistill teach {dataset_id}{workspace_option(workspace)}")


def _tell_damage(report: Report) -> None:
    """List damaged cases on standard error."""
    for case, sentences in list(report.damage.items())[:SHOWN]:
        for sentence in sentences:
            console.print(f"{case}: {sentence}", style="red", highlight=False, markup=False, soft_wrap=True)
    if len(report.damage) > SHOWN:
        console.print(f"… and {len(report.damage) - SHOWN} more, all in {report.path}", highlight=False)


def _show(report: Report) -> None:
    import pandas as pd

    rows = {}
    for name, value in report.summary().items():
        if value in ({}, []) or name == "prepared":
            continue
        if name == "folds":
            value = ", ".join(f"{fold['train']}/{fold['val']}" for fold in value)
        elif isinstance(value, dict):
            value = _range(**value) if "to" in value else ", ".join(f"{key} {n}" for key, n in value.items())
        rows[name] = value
    if report.remarks:
        rows["remarks"] = f"{len(report.remarks)} cases: see {report.path.name}"
    show(pd.DataFrame({"": rows}), report.folder.name)


def _range(to: list[float], **limits: list[float]) -> str:
    """`182×218×182`, or `20×20×19 to 60×60×44`."""
    low, high = ("×".join(f"{x:.4g}" for x in axes) for axes in (limits["from"], to))
    return low if low == high else f"{low} to {high}"
