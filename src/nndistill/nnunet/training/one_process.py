"""A training in this process, which is the only one or one of several that train together."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from nnunetv2.run.run_training import maybe_load_checkpoint

from ...errors import UserError
from ...files import read_json
from ...progress import TrainingState
from ...suppress_output import suppress_output
from .distillation_trainer import nnUNetTrainerDistill
from .recipe_trainer import nnUNetTrainerRecipe
from .stock_settings import stock_settings

if TYPE_CHECKING:
    from .run import Run


@dataclass(frozen=True)
class Observers:
    """What is called while a training runs.

    Args:
        on_start: Once, with the number of batches to come.
        on_iteration: After each batch.
        on_preparation: With the number of steps done and of all steps while a method learns from the teacher.
    """

    on_start: Callable[[int], None] = lambda batches: None
    on_iteration: Callable[[TrainingState], None] = lambda state: None
    on_preparation: Callable[[int, int], None] = lambda done, total: None


def train_here(run: Run, device: torch.device, *, validate: bool, observers: Observers, rank: int = 0) -> None:
    """Train a run to its end and predict its validation cases, as `nndistill.nnunet.training.run.train` says.

    Args:
        run: What to train.
        device: Where; nnU-Net itself chooses the GPU of each of several processes.
        validate: Whether to predict the validation cases.
        observers: What to call.
        rank: Of this process; what nnU-Net prints in others than the first is dropped.

    Raises:
        UserError: The loss became NaN, the disk is full, or the GPU has not enough memory.
    """
    with suppress_output(run.fold_folder / "console.txt" if rank == 0 else None), stock_settings(device):
        try:
            _train(run, device, validate=validate, observers=observers)
        except torch.cuda.OutOfMemoryError as error:
            raise _out_of_memory(run, error) from error


def _train(run: Run, device: torch.device, *, validate: bool, observers: Observers) -> None:
    trainer = _trainer(run, device)
    maybe_load_checkpoint(trainer, continue_training=run.begun, validation_only=False)
    batches = trainer.num_iterations_per_epoch + trainer.num_val_iterations_per_epoch
    observers.on_start(batches * max(0, trainer.num_epochs - trainer.current_epoch))
    trainer.on_iteration = observers.on_iteration
    trainer.on_preparation = observers.on_preparation
    if not run.finished:
        trainer.run_training()
    if validate and not (run.fold_folder / "validation" / "summary.json").is_file():
        trainer.perform_actual_validation()


def _trainer(run: Run, device: torch.device) -> nnUNetTrainerRecipe:
    """Build the trainer as nnU-Net does from its name, without nnU-Net's search through all trainers."""
    classes = {trainer.__name__: trainer for trainer in (nnUNetTrainerRecipe, nnUNetTrainerDistill)}
    return classes[run.trainer](
        {**read_json(run.plans_file), "continue_training": run.begun},
        run.configuration,
        run.fold if run.fold == "all" else int(run.fold),
        read_json(run.plans_file.parent / "dataset.json"),
        device,
    )


def _out_of_memory(run: Run, error: Exception) -> UserError:
    reason = str(error).splitlines()[0].rstrip(".")
    wanted = "fewer features, or a method that reads less of the teacher" if run.distils else "or fewer features"
    return UserError(
        f"the GPU has not enough memory for {run.plans_name} ({reason}). Train with a smaller batch, a smaller patch, "
        f"{wanted}; or end other programs on this GPU.",
        option=("batch_size", "patch_size", "features", "method"),
    )
