"""Options that several commands share, so that they have the same name, type and help everywhere."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

Workspace = Annotated[
    Path | None,
    typer.Option(help="Folder that holds nnU-Net's three folders. Default: nnU-Net's environment variables."),
]
Fold = Annotated[str, typer.Option(help="Fold of the cross-validation: 0 to 4, or all.")]
Folds = Annotated[
    list[str] | None,
    typer.Option(
        "--fold",
        help="Fold of a trained nnU-Net's model folder, 0 to 4 or all. Give several, such as --fold 0 1 2 3 4, to "
        "average their logits. Default: the only one.",
    ),
]
Configuration = Annotated[
    str | None,
    typer.Option(
        "--configuration",
        "-c",
        help="Configuration of nnU-Net's plans, such as 2d, 3d_lowres or 3d_fullres. Default: the model folder's, or "
        "3d_fullres.",
    ),
]
Features = Annotated[
    list[int] | None,
    typer.Option(help="Channels of each stage, such as --features 16 32 64 128. Fewer numbers make fewer stages."),
]
Blocks = Annotated[
    list[int] | None,
    typer.Option(
        help="Residual blocks of each encoder stage of the student, or convolutions if it is plain, such as "
        "--blocks 1 2 2 2, or one number for all stages. Default: the teacher's, or 2 if only the student is plain."
    ),
]
RecipeName = Annotated[
    str, typer.Option("--recipe", help="Name of a recipe, as nndistill recipes lists them, or a YAML file of your own.")
]
Epochs = Annotated[int | None, typer.Option(help="Number of epochs. Default: the recipe's.")]
Iterations = Annotated[int | None, typer.Option(help="Training batches per epoch. Default: the recipe's.")]
BatchSize = Annotated[int | None, typer.Option(min=1, help="Patches per batch. Default: the plans'.")]
LearningRate = Annotated[float | None, typer.Option(help="Initial learning rate. Default: the recipe's.")]
Precision = Annotated[
    Literal["auto", "float32", "bfloat16"] | None,
    typer.Option(
        help="Precision of the convolutions; auto takes nnU-Net's on a GPU and the faster one on a processor. "
        "Default: the recipe's."
    ),
]
Accumulate = Annotated[
    int | None,
    typer.Option(
        min=1,
        help="Number of parts in which a batch is computed, one after the other, in less memory. "
        "Default: the recipe's.",
    ),
]
Seed = Annotated[int | None, typer.Option(help="Seed of the initial weights and of sampling. Default: the recipe's.")]
Device = Annotated[str, typer.Option(help="cpu, cuda, mps, or auto, which takes a GPU if one can run the networks.")]
Gpus = Annotated[int, typer.Option(min=1, help="Number of GPUs that train together, each on its share of every batch.")]
Track = Annotated[
    list[str] | None,
    typer.Option(
        help="Also report the training to Weights & Biases (wandb) or MLflow (mlflow:URI). Repeat the option for both."
    ),
]
Name = Annotated[
    str | None,
    typer.Option(
        help="Name of the run's plans, which becomes part of its folder's name. "
        "Default: the plans' name and what is special about the run."
    ),
]
Resume = Annotated[bool, typer.Option("--resume", help="Continue a training that was started before.")]
Validate = Annotated[bool, typer.Option(help="Predict and score the fold's validation cases after the training.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object to standard output, and nothing else.")]
DatasetId = Annotated[int, typer.Option(min=1, max=999, help="Number of the data set in nnU-Net, 1 to 999.")]
