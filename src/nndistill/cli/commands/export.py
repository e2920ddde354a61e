"""`nndistill export`."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ...progress import StepProgress
from ..options import AsJson, Workspace
from ..output import print_json

if TYPE_CHECKING:
    from ...export.export import Exported


def export(
    model: Annotated[Path, typer.Argument(help="Model folder of a trained nnU-Net: teacher, student or any other.")],
    format: Annotated[
        str,
        typer.Option(
            help="openvino: fastest on Intel and AMD processors; onnx: nearly every runtime; safetensors: weights; "
            "nnunet: a stock model folder and the zip that installs it."
        ),
    ],
    precision: Annotated[str, typer.Option(help="float32, float16, bfloat16 (openvino) or int8.")] = "float32",
    fold: Annotated[str | None, typer.Option(help="Which fold's weights; default: the only one.")] = None,
    out: Annotated[Path | None, typer.Option(help="Folder to write; default: in MODEL/exports.")] = None,
    calibration: Annotated[
        Path | None, typer.Option(help="Images in nnU-Net's layout: calibrate INT8, and show what a precision costs.")
    ] = None,
    labels: Annotated[Path | None, typer.Option(help="Reference label maps of these cases.")] = None,
    tolerance: Annotated[float, typer.Option(min=0, help="Mean Dice that a precision may cost.")] = 0.001,
    workspace: Workspace = None,
    as_json: AsJson = False,
) -> None:
    """Export a trained network for use elsewhere, checked against PyTorch before it is kept."""
    from ...export.export import export_model
    from ...nnunet.workspace import use_workspace

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
    print(f"\nExport: {exported.folder} ({exported.bytes / 1e6:.1f} MB)\nNext:   {_next_step(exported)}")


def _show_accuracy(accuracy: dict[str, Any], precision: str) -> None:
    from rich import print as rich_print
    from rich.table import Table

    measured, calibrated = accuracy["cases"], accuracy["calibrated_on"]
    against = "your labels" if accuracy["against"] == "labels" else "the float32 network's"
    print(f"Dice of {len(measured)} cases against {against}, without mirroring:")
    table = Table("", "float32", precision, "change")
    for name, before in accuracy["dice_float32"].items():
        after = accuracy["dice"][name]
        table.add_row(name, f"{before:.4f}", f"{after:.4f}", f"{after - before:+.4f}")
    table.add_row("mean", "", "", f"{-accuracy['dice_fall']:+.4f}")
    rich_print(table)
    print(f"{accuracy['differing_voxels']:.4%} of voxels get another label.")
    if calibrated:
        same = set(measured) & set(calibrated)
        told = "the one that it is measured on, so it may look better than it is" if same else "none of those measured"
        print(f"Calibrated on {len(calibrated)} cases, {told}.")


def _plain(exported: Exported) -> dict[str, Any]:
    description = exported.description
    return {
        "folder": str(exported.folder),
        "files": exported.files,
        "bytes": exported.bytes,
        "format": "nnunet" if description is None else description.format,
        "precision": "float32" if description is None else description.precision,
        "check": {} if description is None else description.check,
    }


def _next_step(exported: Exported) -> str:
    archives = [file for file in exported.files if file.endswith(".zip")]
    if archives:
        return f"nnUNetv2_install_pretrained_model_from_zip {exported.folder / archives[0]}"
    return f"nndistill predict {exported.folder} IMAGES OUTPUT"
