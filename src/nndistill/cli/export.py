"""`nndistill export`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .options import AsJson, Workspace
from .output import print_json

if TYPE_CHECKING:
    from ..deployment.export.exporting import Exported


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
    workspace: Workspace = None,
    as_json: AsJson = False,
) -> None:
    """Export a trained network for use elsewhere, checked against PyTorch before it is kept."""
    from ..deployment.export.exporting import export_model
    from ..nnunet.workspace import use_workspace

    use_workspace(workspace)
    exported = export_model(model, format=format, precision=precision, fold=fold, out=out)
    if as_json:
        print_json(_plain(exported))
        return
    if exported.description is not None and exported.description.check:
        check = exported.description.check
        print(
            f"Against PyTorch on {check['input']}: logits differ by up to {check['max_difference']:.2g} "
            f"(of {check['max_logit']:.3g}), {check['differing_labels']:.4%} of labels differ."
        )
    print(f"\nExport: {exported.folder} ({exported.bytes / 1e6:.1f} MB)\nNext:   {_next_step(exported)}")


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
