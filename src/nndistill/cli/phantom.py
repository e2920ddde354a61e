"""`nndistill phantom`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..progress import StepProgress


def phantom(
    out: Annotated[Path, typer.Argument(help="Folder in which Dataset900_Phantom is made, such as nnUNet_raw.")],
    cases: Annotated[int, typer.Option(min=1, help="Training cases.")] = 20,
    test_cases: Annotated[int, typer.Option(min=0, help="Cases beside them, in imagesTs and labelsTs.")] = 0,
    seed: Annotated[int, typer.Option(min=0, help="The same seed gives the same data.")] = 0,
) -> None:
    """Make a BraTS-like multi-parametric MRI data set with fine structure."""
    from ..datasets import generate_phantom

    with StepProgress("phantom") as report:
        folder = generate_phantom(out, cases=cases, test_cases=test_cases, seed=seed, progress=report)
    print(f"{folder} holds {cases} training and {test_cases} test cases.")
    print("Next, with that folder in nnUNet_raw: nndistill teach 900 --recipe quick")
