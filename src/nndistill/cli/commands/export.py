"""`nndistill export`."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ...progress import StepProgress
from ...runtime.formats import FORMATS, PRECISIONS
from ..options import AsJson, Folds, Workspace
from ..output import print_json, print_next

if TYPE_CHECKING:
    from ...export.export import ExportedModel

_FORMATS = "; ".join(f"{kind.name}: {kind.purpose}" for kind in FORMATS.values())
_PRECISIONS = "; ".join(
    f"{precision}: {', '.join(kind.name for kind in FORMATS.values() if precision in kind.precisions)}"
    for precision in PRECISIONS
)


def export(
    model: Annotated[
        Path, typer.Argument(help="Model folder of a trained nnU-Net: a teacher, a student or any other.")
    ],
    format: Annotated[str, typer.Option(help=f"{_FORMATS}.")],
    precision: Annotated[
        str, typer.Option(help=f"Precision in which the export computes, with the formats that have it. {_PRECISIONS}.")
    ] = "float32",
    fold: Folds = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder to write. Default: MODEL/exports/FORMAT-PRECISION-fold_X.")
    ] = None,
    calibration: Annotated[
        Path | None,
        typer.Option(
            help="Folder of images in nnU-Net's layout, to calibrate INT8 and measure what a reduced precision costs."
        ),
    ] = None,
    labels: Annotated[
        Path | None,
        typer.Option(help="Reference label maps of the calibration cases. Default: the float32 network's label maps."),
    ] = None,
    tolerance: Annotated[float, typer.Option(min=0, help="Mean Dice that a reduced precision may cost.")] = 0.001,
    workspace: Workspace = None,
    as_json: AsJson = False,
) -> None:
    """Export a trained network for use elsewhere; it is compared with PyTorch before it is kept."""
    from ...export.export import export_model
    from ...nnunet.workspace import use_workspace

    results = None if workspace else os.environ.get("nnUNet_results")
    use_workspace(workspace)
    with StepProgress("cases measured") if calibration and precision != "float32" else nullcontext() as report:
        exported = export_model(
            model,
            format=format,
            precision=precision,
            fold=fold,
            out=out,
            calibration=calibration,
            labels=labels,
            tolerance=tolerance,
            progress=report,
        )
    if as_json:
        print_json(_plain(exported))
        return
    check = {} if exported.description is None else exported.description.check
    if check:
        print(
            f"Against PyTorch on {check['input']}: logits differ by up to {check['max_difference']:.2g} "
            f"(of {check['max_logit']:.3g}), {check['differing_labels']:.4%} of labels differ."
        )
    if "accuracy" in check:
        _show_accuracy(check["accuracy"], precision)
    if check and check["precision"] != precision:
        print(f"Measured in {check['precision']}, since {check['device']} cannot compute in {precision}.")
    print(f"\nExport: {exported.folder} ({exported.bytes / 1e6:.1f} MB)")
    print_next(*_next_step(exported, results=results, workspace=workspace), heading="Next:   ")


def _show_accuracy(accuracy: dict[str, Any], precision: str) -> None:
    from rich import print as rich_print
    from rich.table import Table

    measured, calibrated = accuracy["cases"], accuracy["calibrated_on"]
    against = "your labels" if accuracy["against"] == "labels" else "the float32 network's labels"
    print(f"Dice of {_count(measured)} against {against}, without mirroring:")
    table = Table("", "float32", precision, "change")
    for name, before in accuracy["dice_float32"].items():
        after = accuracy["dice"][name]
        table.add_row(name, f"{before:.4f}", f"{after:.4f}", f"{after - before:+.4f}")
    table.add_row("mean", "", "", f"{-accuracy['dice_fall']:+.4f}")
    rich_print(table)
    print(f"{accuracy['differing_voxels']:.4%} of voxels get another label.")
    if calibrated:
        same = set(measured) & set(calibrated)
        note = "also the one measured, so it may look better than it is" if same else "none of those measured"
        print(f"Calibrated on {_count(calibrated)}, {note}.")


def _count(cases: Sequence[str]) -> str:
    return f"{len(cases)} case{'' if len(cases) == 1 else 's'}"


def _plain(exported: ExportedModel) -> dict[str, Any]:
    description = exported.description
    return {
        "folder": str(exported.folder),
        "files": exported.files,
        "bytes": exported.bytes,
        "format": "nnunet" if description is None else description.format,
        "precision": "float32" if description is None else description.precision,
        "check": {} if description is None else description.check,
    }


def _next_step(exported: ExportedModel, *, results: str | None, workspace: Path | None) -> list[object]:
    archives = [file for file in exported.files if file.endswith(".zip")]
    if archives:
        place = (workspace or Path()) / "nnUNet_results"
        where = [] if results else ["env", f"nnUNet_results={place}"]
        return [*where, "nnUNetv2_install_pretrained_model_from_zip", exported.folder / archives[0]]
    return ["nndistill", "predict", exported.folder, "IMAGES", "OUTPUT"]
