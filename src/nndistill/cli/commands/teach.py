"""`nndistill teach`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ...errors import UserError
from ..options import (
    Accumulate,
    AsJson,
    BatchSize,
    Configuration,
    Device,
    Epochs,
    Features,
    Fold,
    Gpus,
    Iterations,
    LearningRate,
    Name,
    Precision,
    RecipeName,
    Resume,
    Seed,
    Track,
    Validate,
    Workspace,
)
from ..output import workspace_option
from ..training import adjusted_recipe, prepared, refuse_missing_device, report_training, train_with_progress

if TYPE_CHECKING:
    from ...nnunet.training.run import Run


def teach(
    dataset: Annotated[str, typer.Argument(help="Name or number of a data set in nnUNet_raw.")],
    configuration: Configuration = None,
    planner: Annotated[str, typer.Option(help="nnU-Net's experiment planner.")] = "ResEncUNetPlanner",
    fold: Fold = "0",
    features: Features = None,
    recipe_name: RecipeName = "paper",
    epochs: Epochs = None,
    iterations: Iterations = None,
    learning_rate: LearningRate = None,
    batch_size: BatchSize = None,
    patch_size: Annotated[
        list[int] | None,
        typer.Option(help="Voxels per patch along each axis: three numbers, or two for 2d. Default: as planned."),
    ] = None,
    precision: Precision = None,
    accumulate: Accumulate = None,
    seed: Seed = None,
    device: Device = "auto",
    gpus: Gpus = 1,
    name: Name = None,
    resume: Resume = False,
    validate: Validate = True,
    track: Track = None,
    workspace: Workspace = None,
    as_json: AsJson = False,
) -> None:
    """Train a teacher on a small budget: plan, preprocess, train. For a full training, use stock nnUNetv2_train."""
    from ...datasets import check_raw_dataset
    from ...evaluation.patients import known_patients
    from ...nnunet.data.preprocessing import plan_and_preprocess
    from ...nnunet.data.raw_cases import raw_cases
    from ...nnunet.data.stored_folds import stored_folds
    from ...nnunet.training import tracking
    from ...nnunet.training.launched import joined
    from ...nnunet.training.teacher import prepare_teacher
    from ...nnunet.workspace import dataset_folder, preprocessed_folder, raw_folder, use_workspace

    use_workspace(workspace)
    for tracker in track or []:
        tracking.track(tracker)

    def prepare() -> Run:
        refuse_missing_device(device, gpus=gpus)
        recipe = adjusted_recipe(
            recipe_name,
            epochs=epochs,
            iterations=iterations,
            learning_rate=learning_rate,
            precision=precision,
            accumulate=accumulate,
            seed=seed,
        )
        folder = dataset_folder(raw_folder(), dataset)
        check_raw_dataset(folder)
        if fold != "all" and not any(map(stored_folds, (folder, preprocessed_folder() / folder.name))):
            patients = known_patients([folder])
            _refuse_stock_folds([patients[case.name] for case in raw_cases(folder) if case.name in patients], folder)
        return prepare_teacher(
            folder.name,
            plan_and_preprocess(folder.name, planner=planner, configuration=configuration),
            configuration=configuration,
            fold=fold,
            recipe=recipe,
            name=name,
            features=features,
            patch_size=patch_size,
            batch_size=batch_size,
            resume=resume,
        )

    with joined(device, gpus=gpus):
        run = prepared(prepare)
        train_with_progress(run, "teacher", device=device, gpus=gpus, validate=validate)
        next_step = ["nndistill", "distill", run.model_folder, "--fold", fold, "--recipe", recipe_name]
        next_step += [*(["--device", device] if device != "auto" else []), *workspace_option(workspace)]
        report_training(run, validate=validate, as_json=as_json, next_step=next_step)


def _refuse_stock_folds(patients: Sequence[str], dataset: Path) -> None:
    """Refuse folds by case where patients, one per training case, have several."""
    number = len(set(patients))
    if number < len(patients):
        raise UserError(
            f"{dataset} has no folds, and its {len(patients)} cases are of {number} patients: nnU-Net would make folds "
            "by case, and validate on patients that it trains on. Take the fold all, or put a splits_final.json with "
            "folds of your own there.",
            option="fold",
        )
