"""Options that several commands take."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Workspace = Annotated[
    Path | None,
    typer.Option(help="Folder for nnU-Net's three folders; default: its environment variables."),
]
Fold = Annotated[str, typer.Option(help="Fold of the cross-validation, 0 to 4, or all.")]
Features = Annotated[list[int] | None, typer.Option(help="Channels of each stage: --features 16 32 64 128.")]
RecipeName = Annotated[str, typer.Option("--recipe", help="A name that nndistill recipes lists, or a YAML file.")]
Epochs = Annotated[int | None, typer.Option(help="Instead of the recipe's.")]
Iterations = Annotated[int | None, typer.Option(help="Training batches an epoch, instead of the recipe's.")]
BatchSize = Annotated[int | None, typer.Option(min=1, help="Patches a batch, instead of the plans'.")]
LearningRate = Annotated[float | None, typer.Option(help="Initial learning rate, instead of the recipe's.")]
Seed = Annotated[int | None, typer.Option(help="Seed of weights and sampling, instead of the recipe's.")]
Device = Annotated[str, typer.Option(help="cpu, cuda, mps, or auto: a GPU where there is one.")]
Gpus = Annotated[int, typer.Option(min=1, help="Number of GPUs to train on together.")]
Name = Annotated[str | None, typer.Option(help="Plans name of the run, and so of its folder.")]
Resume = Annotated[bool, typer.Option("--resume", help="Go on with a training that was begun before.")]
Validate = Annotated[bool, typer.Option(help="Predict the fold's validation cases at the end.")]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON object on standard output, and nothing else there.")]
DatasetId = Annotated[int, typer.Option(min=1, max=999, help="Number of the data set in nnU-Net.")]
