"""`nndistill demo`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..options import AsJson, Device
from ..output import print_json, show
from .complexity import readable_costs


def demo(
    workspace: Annotated[
        Path, typer.Option(help="Folder for data and results. After a stop, run the demo again to continue.")
    ] = Path("nndistill-demo"),
    device: Device = "auto",
    as_json: AsJson = False,
) -> None:
    """Run the whole path on synthetic MRI: train a teacher, distil it, compare. Takes minutes on two cores."""
    from ...demo import run_demo

    result = run_demo(workspace, device=device)
    if as_json:
        print_json(result.numbers)
        return
    show(readable_costs(result.costs).T, "Costs of the networks")
    show(result.report.tables["overall"].texts, f"Results on {result.cases} held-out cases, mean ± SEM")
    show(result.report.tables["classes"].texts.filter(like="Dice").T, "Dice per label")
    print("A few hundred batches on synthetic data show how the path works, not how good a method is.")
    print(f"\nReport, to open in a browser: {result.report.page.resolve()}")
    print(f"Folder of tables and figures: {result.report.page.parent}")
    for name, model in result.models.items():
        print(f"{name}: {model}")
    print(
        "\nTo distil a trained nnU-Net of your own, give its folder:\n"
        "  nndistill complexity TEACHER_FOLDER\n  nndistill distill TEACHER_FOLDER --fold 0"
    )
