"""`nndistill phantom`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from ...progress import StepProgress

NUMBERS = {"brats2024": 226, "isles2022": 229}
"""Numbers under which the paper's data sets are known."""


def phantom(
    out: Annotated[Path, typer.Argument(help="Folder in which the data set's own is made, such as nnUNet_raw.")],
    layout: Annotated[
        Literal["nnunet", "brats2024", "isles2022"],
        typer.Option(help="nnU-Net's, as Dataset900_Phantom, or that of a challenge's download."),
    ] = "nnunet",
    cases: Annotated[int, typer.Option(min=1, help="Training cases.")] = 20,
    test_cases: Annotated[int, typer.Option(min=0, help="Cases beside them, in imagesTs and labelsTs.")] = 0,
    seed: Annotated[int, typer.Option(min=0, help="The same seed gives the same data.")] = 0,
) -> None:
    """Make a BraTS-like multi-parametric MRI data set with fine structure, or strokes in the layout of ISLES."""
    from ...datasets import generate_phantom

    with StepProgress("phantom") as report:
        folder = generate_phantom(out, layout=layout, cases=cases, test_cases=test_cases, seed=seed, progress=report)
    print(f"{folder} holds {cases} training and {test_cases} test cases.")
    if layout == "nnunet":
        print("Next, with that folder in nnUNet_raw: nndistill teach 900 --recipe quick")
    else:
        print(f"Next: nndistill prepare {layout} {folder} --dataset-id {NUMBERS[layout]}")
