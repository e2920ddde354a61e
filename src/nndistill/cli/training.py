"""What `teach` and `distill` share: a recipe with changes, the training, and the report of its result."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from ..progress import TrainingProgress
from .output import print_json, print_next, show

if TYPE_CHECKING:
    import pandas as pd

    from ..nnunet.training.run import Run
    from ..recipes import Recipe


def adjusted_recipe(name: str, **changes: Any) -> Recipe:
    """Load a recipe and replace the values that were given as options."""
    from ..recipes import load_recipe

    return load_recipe(name).adjusted(**changes)


def prepared(prepare: Callable[[], Run]) -> Run:
    """Write the plans of a run: in the first process alone, if `torchrun` started several."""
    from ..nnunet.training.across_processes import made_by_first, process_count
    from ..nnunet.training.run import refuse_uneven_batches

    def prepare_and_check() -> Run:
        run = prepare()
        refuse_uneven_batches(run, process_count())
        return run

    return made_by_first(prepare_and_check)


def refuse_missing_device(device: str, *, gpus: int) -> None:
    """Refuse a device that is not there, before anything is planned or written."""
    from ..nnunet.training.run import find_training_device

    find_training_device(device, gpus=gpus)


def train_with_progress(run: Run, title: str, *, device: str, gpus: int, validate: bool) -> None:
    """Train a run under a progress bar, which the first of several processes shows."""
    from ..nnunet.training.across_processes import is_first
    from ..nnunet.training.run import train

    if not is_first():
        train(run, device=device, validate=validate)
        return
    with TrainingProgress(title) as progress:
        train(
            run,
            device=device,
            gpus=gpus,
            validate=validate,
            on_start=progress.start,
            on_iteration=progress.advance,
            on_preparation=progress.prepare,
            on_validation=progress.validate,
        )


def report_training(run: Run, *, validate: bool, as_json: bool, next_step: Sequence[object]) -> None:
    """Print where the trained model is, its validation Dice if it was validated, and what to do next."""
    from ..nnunet.training.across_processes import is_first

    if not is_first():
        return
    from ..nnunet.models.scores import validation_scores
    from ..reporting import dice_table

    scores = validation_scores(run.model_folder, run.fold) if validate else None
    if as_json:
        print_json({"model": str(run.model_folder), "fold": run.fold, "dice": _dice_by_label(scores)})
        return
    if scores is not None:
        show(dice_table(scores.assign(model=run.plans_name)).T, f"Validation Dice of fold {run.fold}, mean ± SEM")
    print(f"\nModel: {run.model_folder}")
    print_next(*next_step, heading="Next:  ")


def _dice_by_label(scores: pd.DataFrame | None) -> dict[str, Any] | None:
    if scores is None:
        return None
    statistics = scores.groupby("label")["dice"].agg(["mean", "sem", "count"])
    return {str(label): dict(row) for label, row in statistics.to_dict(orient="index").items()}
