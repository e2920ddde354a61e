"""What `teach` and `distill` share: the recipe with its changes, the training, and its result."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..progress import TrainingProgress
from .output import print_json, show

if TYPE_CHECKING:
    from ..nnunet.training.run import Run
    from ..recipes import Recipe


def adjusted_recipe(name: str, **changes: Any) -> Recipe:
    from ..recipes import load_recipe

    return load_recipe(name).adjusted(**changes)


def train_with_progress(run: Run, title: str, *, device: str, gpus: int, validate: bool) -> None:
    from ..nnunet.training.run import train

    with TrainingProgress(title) as progress:
        train(
            run,
            device=device,
            gpus=gpus,
            validate=validate,
            on_start=progress.start,
            on_iteration=progress.advance,
            on_preparation=progress.prepare,
        )


def report_training(run: Run, *, validate: bool, as_json: bool, next_step: str) -> None:
    from ..nnunet.models.scores import validation_scores
    from ..reporting import dice_table

    scores = validation_scores(run.model_folder, run.fold).assign(model=run.plans_name) if validate else None
    if as_json:
        numbers = None if scores is None else scores.groupby("label")["dice"].agg(["mean", "sem", "count"])
        print_json(
            {
                "model": str(run.model_folder),
                "fold": run.fold,
                "dice": None if numbers is None else numbers.to_dict(orient="index"),
            }
        )
        return
    if scores is not None:
        show(dice_table(scores).T, f"Validation Dice of fold {run.fold}, mean ± SEM")
    print(f"\nModel: {run.model_folder}\nNext:  {next_step}")
