"""`nndistill demo`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..options import AsJson, Device
from ..output import print_json, show
from .complexity import readable_costs


def demo(
    workspace: Annotated[Path, typer.Option(help="Where everything is put; run again to go on after a stop.")] = Path(
        "nndistill-demo"
    ),
    device: Device = "auto",
    as_json: AsJson = False,
) -> None:
    """Make a phantom, train a teacher, distil it, and show what the student kept. Minutes on two cores."""
    from ...demo import run_demo

    result = run_demo(workspace, device=device)
    if as_json:
        print_json(result.numbers)
        return
    show(readable_costs(result.costs).T, "What the networks cost")
    show(result.report.tables["overall"].texts, f"The {result.cases} held-out cases, mean ± SEM")
    show(result.report.tables["classes"].texts.filter(like="Dice").T, "Dice of every label")
    print("A few hundred batches on made-up data: this shows the path, not the worth of a method.")
    print(f"\nReport, to open in a browser:  {result.report.page.resolve()}")
    print(f"Tables and figures beside it:  {result.report.page.parent}")
    for name, model in result.models.items():
        print(f"{name}:  {model}")
    print(
        "\nNow your own teacher, a folder of a trained nnU-Net:\n"
        "  nndistill complexity TEACHER_FOLDER\n  nndistill distill TEACHER_FOLDER --fold 0"
    )
