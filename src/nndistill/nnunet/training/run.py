"""One training: its place in nnU-Net's folders, and how it is run, from the start or from where it stopped."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import distributed

from ...errors import UserError
from ...files import locked, read_json, write_json
from ...progress import TrainingState
from ...recipes import Recipe
from ...runtime.backends.torch import find_device
from ..plans import resolved_configuration
from ..run_setup import KEY, RunSetup
from ..workspace import preprocessed_folder, results_folder
from .across_processes import is_first, made_by_first, process_count
from .distillation_trainer import nnUNetTrainerDistill
from .one_process import Observers, train_here
from .same_setup import differences, with_folds_of
from .several_processes import train_together
from .stored_plans import writing_plans


@dataclass(frozen=True)
class Run:
    """A training that nnU-Net can run: `nnUNetv2_train DATASET CONFIGURATION FOLD -tr TRAINER -p PLANS`."""

    dataset: str
    configuration: str
    fold: str
    trainer: str
    plans_name: str

    @property
    def plans_file(self) -> Path:
        """Where nnU-Net looks for the run's plans."""
        return preprocessed_folder() / self.dataset / f"{self.plans_name}.json"

    @property
    def model_folder(self) -> Path:
        """Where nnU-Net puts the trained model."""
        return results_folder() / self.dataset / f"{self.trainer}__{self.plans_name}__{self.configuration}"

    @property
    def fold_folder(self) -> Path:
        """Where the checkpoints of this fold are."""
        return self.model_folder / f"fold_{self.fold}"

    @property
    def distils(self) -> bool:
        """Whether the run has a teacher."""
        return bool(self.trainer == nnUNetTrainerDistill.__name__)

    @property
    def begun(self) -> bool:
        """Whether there is a checkpoint to continue from."""
        return any(self.fold_folder.glob("checkpoint_*.pth"))

    @property
    def finished(self) -> bool:
        """Whether the training is complete."""
        return (self.fold_folder / "checkpoint_final.pth").is_file()

    @property
    def finished_folds(self) -> list[str]:
        """The folds of this model whose training is complete, in order."""
        files = self.model_folder.glob("fold_*/checkpoint_final.pth")
        return sorted((file.parent.name.removeprefix("fold_") for file in files), key=lambda fold: (len(fold), fold))

    @property
    def recipe(self) -> Recipe:
        """How it is trained, as its plans say."""
        return RunSetup.of(read_json(self.plans_file)).recipe

    def store_plans(self, plans: dict[str, Any], *, resume: bool) -> None:
        """Write the run's plans, once: those that are there are kept if they have the same setup.

        Each fold of a student has its own teacher, so a further fold only adds that to the plans.

        Raises:
            UserError: There are results already and `resume` is not set, or there is another setup; or the name is
                taken by plans that nnDistill did not write.
        """
        with writing_plans(self.plans_file):
            trained = any(self.model_folder.glob("fold_*/checkpoint_*.pth"))
            kept = self.model_folder / "plans.json"  # by nnU-Net, which copies them there
            files = [self.plans_file, *([kept] if trained else [])]
            existing = next((read_json(file) for file in files if file.is_file()), None)
            if existing is None:
                write_json(self.plans_file, plans)
                return
            if KEY not in existing:
                raise UserError(f"{self.plans_file} holds nnU-Net's own plans; choose another name.", option="name")
            if different := differences(existing, plans, fold=self.fold, begun=self.begun):
                place = f"{self.model_folder} and {self.plans_file} hold" if trained else f"{self.plans_file} holds"
                raise UserError(
                    f"{place} a training with another setup ({'; '.join(different)}). Choose another name, or delete "
                    f"{'both' if trained else 'that file'}.",
                    option="name",
                )
            if self.begun and not resume:
                raise UserError(
                    f"{self.fold_folder} already holds a training with this setup; resume it, choose another name, or "
                    "delete that folder.",
                    option=("resume", "name"),
                )
            complete = with_folds_of(existing, plans)
            if complete != existing or not self.plans_file.is_file():
                write_json(self.plans_file, complete)


def train(
    run: Run,
    *,
    device: str = "auto",
    gpus: int = 1,
    validate: bool = True,
    on_start: Callable[[int], None] = lambda batches: None,
    on_iteration: Callable[[TrainingState], None] = lambda state: None,
    on_preparation: Callable[[int, int], None] = lambda done, total: None,
    on_validation: Callable[[], None] = lambda: None,
) -> Path:
    """Train a run to its end and predict its validation cases; a run that was begun before continues where it stopped.

    If this process belongs to a process group of PyTorch, all of the group have to call this, and train together.

    Args:
        run: What to train; its plans are in place.
        device: `cpu`, `cuda`, `mps`, or `auto` for a GPU if there is one.
        gpus: Number of GPUs; more than one train together, each in a process of its own on its share of every batch.
        validate: Predict the fold's validation cases at the end, as stock nnU-Net does.
        on_start: Called once with the number of batches to come.
        on_iteration: Called after each batch.
        on_preparation: Called with the number of steps done and of all steps while the method learns from the teacher,
            before the first of these batches.
        on_validation: Called when the training is over, before its validation cases are predicted.

    Returns:
        The model folder.

    Raises:
        UserError: The loss became NaN, the disk is full, the GPU has not enough memory, or a device is not available.

    Example:
        >>> from nndistill import load_recipe, prepare_student
        >>> minimal = load_recipe("quick").adjusted(epochs=1, iterations=1, validation_iterations=1)
        >>> student = prepare_student(teacher_folder, fold="0", recipe=minimal, name="trained")
        >>> train(student, device="cpu", validate=False).name
        'nnUNetTrainerDistill__trained__3d_fullres'
        >>> student.finished
        True
    """
    torch_device = find_training_device(device, gpus=gpus)
    observers = Observers(on_start, on_iteration, on_preparation, on_validation)
    if torch_device.type == "cpu":
        os.environ.setdefault("nnUNet_n_proc_DA", "0")  # augmentation would compete with training for the cores
    busy = f"another process trains in {run.fold_folder}; wait until it ends, or choose another name."
    refuse_uneven_batches(run, gpus * process_count())
    if process_count() > 1:
        _train_with_others(run, torch_device, busy, validate=validate, observers=observers)
        return run.model_folder
    with locked(run.fold_folder / ".lock", busy, option="name"):
        if gpus == 1:
            train_here(run, torch_device, validate=validate, observers=observers)
        else:
            train_together(run, torch_device, processes=gpus, validate=validate, observers=observers)
    return run.model_folder


def find_training_device(device: str, *, gpus: int) -> torch.device:
    """Return the device of a training, or with several GPUs their kind.

    Args:
        device: `cpu`, `cuda`, `mps`, or `auto` for a GPU if there is one.
        gpus: Number of GPUs.

    Raises:
        UserError: A device is not available.

    Example:
        >>> find_training_device("cpu", gpus=1)
        device(type='cpu')
    """
    if gpus == 1:
        return find_device(device)
    present = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if device not in {"auto", "cuda"}:
        raise UserError(f"several GPUs train together on cuda, not on {device}.", option=("gpus", "device"))
    if gpus > present:
        raise UserError(f"there are not {gpus} GPUs with CUDA on this machine; it has {present}.", option="gpus")
    return torch.device("cuda")


def refuse_uneven_batches(run: Run, processes: int) -> None:
    """Refuse a batch that cannot be divided evenly: among processes that train together, and into the recipe's parts.

    Equal shares make the mean of their gradients that of the whole batch.

    Args:
        run: Its plans are in place.
        processes: How many train together, one per GPU if there are any.

    Raises:
        UserError: The batch is smaller, or no multiple of this number, or of the number of parts times that.
    """
    batch_size = resolved_configuration(read_json(run.plans_file), run.configuration)["batch_size"]
    if batch_size < processes:
        what = "GPUs" if process_count() == 1 else "processes"
        raise UserError(
            f"a batch of {batch_size} cannot be shared by {processes} {what}; use at most {batch_size}, or a larger "
            "batch.",
            option=("gpus", "batch_size"),
        )
    if batch_size % processes:
        raise UserError(
            f"a batch of {batch_size} cannot be shared evenly by {processes} processes; use a number of them that "
            "divides it, or another batch.",
            option=("gpus", "batch_size"),
        )
    share, parts = batch_size // processes, run.recipe.accumulate
    if share % parts:
        each = f"each process's share of the batch, {share}" if processes > 1 else f"a batch of {share}"
        raise UserError(
            f"{each} cannot be computed in {parts} equal parts; use a number of parts that divides it, or another "
            "batch.",
            option=("accumulate", "batch_size"),
        )


def _train_with_others(run: Run, device: torch.device, busy: str, *, validate: bool, observers: Observers) -> None:
    """Train as one of several processes that have found each other, of which the first holds the lock."""
    with ExitStack() as held:

        def hold() -> None:
            held.enter_context(locked(run.fold_folder / ".lock", busy, option="name"))

        made_by_first(hold)
        rank = distributed.get_rank()
        train_here(run, device, validate=validate, observers=observers if is_first() else Observers(), rank=rank)
