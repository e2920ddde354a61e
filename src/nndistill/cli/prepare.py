"""`nndistill prepare`: a command a data set."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..progress import StepProgress
from .options import DatasetId, Workspace
from .output import workspace_option

prepare = typer.Typer(help="Bring a public data set into nnU-Net's raw format.", no_args_is_help=True)


@prepare.command()
def decathlon(
    source: Annotated[Path, typer.Argument(help="A task's folder, with its dataset.json.")],
    dataset_id: DatasetId,
    workspace: Workspace = None,
) -> None:
    """Any task of the Medical Segmentation Decathlon, 3D or 4D."""
    from ..datasets import prepare_decathlon
    from ..nnunet.workspace import raw_folder, use_workspace

    use_workspace(workspace)
    with StepProgress("checking and copying") as report:
        folder = prepare_decathlon(source, raw_folder(), dataset_id=dataset_id, progress=report)
    print(f"{folder} is ready.")
    print(f"Next: nndistill teach {dataset_id}{workspace_option(workspace)}")
