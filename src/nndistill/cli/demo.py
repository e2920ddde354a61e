"""`nndistill demo`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .complexity import readable_costs
from .options import AsJson, Device
from .output import print_json, show


def demo(
    workspace: Annotated[Path, typer.Option(help="Where everything is put; run again to go on after a stop.")] = Path(
        "nndistill-demo"
    ),
    device: Device = "auto",
    as_json: AsJson = False,
) -> None:
    """Make a phantom, train a teacher, distil it, and show what the student kept. Minutes on two cores."""
    from ..demo import run_demo

    result = run_demo(workspace, device=device)
    if as_json:
        print_json(result.numbers)
        return
    show(readable_costs(result.costs).T, "What the networks cost")
    show(result.dice.T, f"Dice on the {result.cases} held-out cases, mean ± SEM")
    print("A few hundred batches on made-up data: this shows the path, not the worth of a method.")
    print(f"\nFigure:  {result.figure}\nTables:  {result.tables}")
    for name, model in result.models.items():
        print(f"{name}:  {model}")
    print(
        "\nNow your own teacher, a folder of a trained nnU-Net:\n"
        "  nndistill complexity TEACHER_FOLDER\n  nndistill distill TEACHER_FOLDER --fold 0"
    )
