"""`nndistill phantom`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Literal

import typer

from ...progress import StepProgress
from ..output import print_next


def phantom(
    out: Annotated[Path, typer.Argument(help="Folder to make the data set in, such as nnUNet_raw.")],
    layout: Annotated[
        Literal["nnunet", "brats2024", "isles2022"],
        typer.Option(
            help="Layout of the files: nnU-Net's raw format, as Dataset900_Phantom, or that of a challenge's download."
        ),
    ] = "nnunet",
    cases: Annotated[int, typer.Option(min=1, help="Number of training cases.")] = 20,
    test_cases: Annotated[
        int, typer.Option(min=0, help="Number of test cases, in imagesTs and labelsTs; only in the layout nnunet.")
    ] = 0,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the data; the same seed gives the same data.")] = 0,
) -> None:
    """Make a synthetic MRI data set with fine structure: brain tumours like those of BraTS, or strokes as in ISLES."""
    from ...datasets import generate_phantom
    from ...datasets.registry import public_datasets

    with StepProgress("phantom") as report:
        folder = generate_phantom(out, layout=layout, cases=cases, test_cases=test_cases, seed=seed, progress=report)
    print(f"{folder} holds {cases} training and {test_cases} test cases.")
    if layout == "nnunet":
        print_next(*_with_raw_folder(out), "nndistill", "teach", 900, "--recipe", "quick")
    else:
        dataset_id = public_datasets()[layout].usual_id
        place = [] if os.environ.get("nnUNet_raw") else ["--workspace", "nndistill-workspace"]
        print_next("nndistill", "prepare", layout, folder, "--dataset-id", dataset_id, *place)


def _with_raw_folder(folder: Path) -> list[str]:
    """What to put before a command that is to find its data in a folder: nothing if nnU-Net looks there anyway."""
    folders = {"nnUNet_raw": folder.resolve()}
    for variable in ("nnUNet_preprocessed", "nnUNet_results"):
        folders[variable] = Path(os.environ.get(variable) or folders["nnUNet_raw"].parent / variable)
    other = [f"{name}={place}" for name, place in folders.items() if os.environ.get(name) != str(place)]
    return ["env", *other] if other else []
