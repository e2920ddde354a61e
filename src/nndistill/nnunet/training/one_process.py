"""A training in this process, which is the only one or one of several that train together."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from ...errors import UserError
from ...files import CANNOT_WRITE, read_json
from ...progress import TrainingState
from ...suppress_output import suppress_output
from ..data.preprocessed_case import PreprocessedCase, split_of_fold
from ..plans import resolved_configuration
from ..run_setup import RunSetup
from .across_processes import is_first, made_by_first
from .distillation_trainer import nnUNetTrainerDistill
from .newest_checkpoint import newest_checkpoint
from .recipe_trainer import nnUNetTrainerRecipe
from .stock_settings import stock_settings
from .unlabelled_images import UnlabelledImages

if TYPE_CHECKING:
    from .run import Run

_OF_DATA = ("blosc2", "background workers")
"""In what is raised if nnU-Net cannot read a preprocessed case, or the process that reads it has ended."""


@dataclass(frozen=True)
class Observers:
    """What is called while a training runs.

    Args:
        on_start: Once, with the number of batches to come.
        on_iteration: After each batch.
        on_preparation: With the number of steps done and of all steps while a method learns from the teacher.
        on_validation: When the training is over, before its validation cases are predicted.
    """

    on_start: Callable[[int], None] = lambda batches: None
    on_iteration: Callable[[TrainingState], None] = lambda state: None
    on_preparation: Callable[[int, int], None] = lambda done, total: None
    on_validation: Callable[[], None] = lambda: None


def train_here(run: Run, device: torch.device, *, validate: bool, observers: Observers, rank: int = 0) -> None:
    """Train a run to its end and predict its validation cases, as `nndistill.nnunet.training.run.train` says.

    Args:
        run: What to train.
        device: Where; nnU-Net itself chooses the GPU of each of several processes.
        validate: Whether to predict the validation cases.
        observers: What to call.
        rank: Of this process; what nnU-Net prints in others than the first is dropped.

    Raises:
        UserError: The loss became NaN, a file cannot be written, a preprocessed case is damaged, or the GPU has not
            enough memory.
    """
    try:
        with suppress_output(run.fold_folder / "console.txt" if rank == 0 else None), stock_settings(device):
            _train(run, device, validate=validate, observers=observers)
    except torch.cuda.OutOfMemoryError as error:
        raise _out_of_memory(run, error) from error
    except OSError as error:
        if error.errno not in CANNOT_WRITE:
            raise
        raise UserError(
            f"the training cannot write {error.filename or run.fold_folder}: {error.strerror}. Make room, or make it "
            "writable, and resume; what was written before is intact.",
            option=("resume", "workspace"),
        ) from error
    except RuntimeError as error:
        if any(words in str(error) for words in _OF_DATA):
            _refuse_damaged_cases(run)
        raise


def _refuse_damaged_cases(run: Run) -> None:
    """Name the case that cannot be read, which nnU-Net's own message does not if another process has read it."""
    folder = run.plans_file.parent
    cases = resolved_configuration(read_json(run.plans_file), run.configuration)["data_identifier"]
    split = split_of_fold(folder, cases, run.fold)
    for name in sorted({*split.train, *split.validation}):
        PreprocessedCase.read(folder / cases, name)
    distillation = RunSetup.of(read_json(run.plans_file)).distillation
    if distillation and distillation.unlabelled:
        images = UnlabelledImages.read(folder, distillation.unlabelled)
        for name in images.names:
            PreprocessedCase.read(images.folder, name)


def _train(run: Run, device: torch.device, *, validate: bool, observers: Observers) -> None:
    checkpoint = made_by_first(lambda: _checkpoint(run))
    trainer = _trainer(run, device)
    if checkpoint is not None:
        trainer.load_checkpoint(checkpoint)
    batches = trainer.num_iterations_per_epoch + trainer.num_val_iterations_per_epoch
    observers.on_start(batches * max(0, trainer.num_epochs - trainer.current_epoch))
    trainer.on_iteration = observers.on_iteration
    trainer.on_preparation = observers.on_preparation
    validated = run.fold_folder / "validation" / "summary.json"
    if not run.finished:
        if is_first():
            validated.unlink(missing_ok=True)  # of an earlier final network, whose checkpoint is gone or damaged
        trainer.run_training()
    if validate and not validated.is_file():
        observers.on_validation()
        trainer.perform_actual_validation()


def _checkpoint(run: Run) -> str | None:
    file = newest_checkpoint(run.fold_folder)
    return None if file is None else str(file)


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
