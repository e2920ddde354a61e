"""One training: its place in nnU-Net's folders, and how it is run, from the start or from where it stopped."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from nnunetv2.run.run_training import maybe_load_checkpoint, run_training

from ...errors import UserError
from ...files import read_json, write_json
from ...runtime.backends.torch import find_device
from ...suppress_output import suppress_output
from ..run_setup import KEY, RunSetup
from ..workspace import preprocessed_folder, results_folder
from .distillation_trainer import nnUNetTrainerDistill
from .recipe_trainer import nnUNetTrainerRecipe

TRAINERS = Path(__file__).parents[1] / "trainers"
"""The folder that `nnUNet_extTrainer` has to name for stock nnU-Net."""


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
    def finished(self) -> bool:
        """Whether the training is complete."""
        return (self.fold_folder / "checkpoint_final.pth").is_file()

    def store_plans(self, plans: dict[str, Any], *, resume: bool) -> None:
        """Write the run's plans, unless a run of this name has results that would be lost.

        Raises:
            UserError: There are results already and `resume` is not set, or they are of another setup; or the name is
                taken by plans that nnDistill did not write.
        """
        trained = sorted(self.model_folder.glob("fold_*/checkpoint_*.pth"))
        existing = read_json(self.plans_file) if self.plans_file.is_file() else None
        if existing is not None and KEY not in existing:
            raise UserError(f"{self.plans_file} holds nnU-Net's own plans; choose another name.", option="name")
        same = existing is not None and _setup(existing) == _setup(plans)
        if trained and not same:
            raise UserError(
                f"{self.model_folder} holds a training with another setup; choose another name, or delete that folder.",
                option="name",
            )
        if any(file.parent == self.fold_folder for file in trained) and not resume:
            raise UserError(
                f"{self.fold_folder} already holds a training with this setup; resume it, choose another name, or "
                "delete that folder.",
                option=("resume", "name"),
            )
        if not same:
            write_json(self.plans_file, plans)


def train(
    run: Run,
    *,
    device: str = "auto",
    gpus: int = 1,
    validate: bool = True,
    on_start: Callable[[int], None] = lambda iterations: None,
    on_iteration: Callable[[Any], None] = lambda trainer: None,
    on_preparation: Callable[[int, int], None] = lambda done, total: None,
) -> Path:
    """Train a run to its end and predict its validation cases; a run that was begun before continues where it stopped.

    Args:
        run: What to train; its plans are in place.
        device: `cpu`, `cuda`, `mps`, or `auto` for a GPU if there is one.
        gpus: Number of GPUs; with more than one, nnU-Net's own multi-GPU training is started.
        validate: Predict the fold's validation cases at the end, as stock nnU-Net does.
        on_start: Called once with the number of batches to come.
        on_iteration: Called with the trainer after each batch.
        on_preparation: Called with the number of steps done and of all steps while the method learns from the teacher,
            before the first of these batches.

    Returns:
        The model folder.

    Raises:
        UserError: The loss became NaN, the disk is full, or the device is not available.

    Example:
        >>> from nndistill import load_recipe, prepare_student
        >>> minimal = load_recipe("quick").adjusted(epochs=1, iterations=1, validation_iterations=1)
        >>> student = prepare_student(teacher_folder, fold="0", recipe=minimal, name="trained")
        >>> train(student, device="cpu", validate=False).name
        'nnUNetTrainerDistill__trained__3d_fullres'
        >>> student.finished
        True
    """
    torch_device = find_device(device)
    if torch_device.type == "cpu":
        os.environ.setdefault("nnUNet_n_proc_DA", "0")  # augmentation would compete with training for the cores
    if gpus > 1:
        os.environ["nnUNet_extTrainer"] = _with_our_trainers(os.environ.get("nnUNet_extTrainer", ""))
        run_training(
            run.dataset,
            run.configuration,
            run.fold,
            run.trainer,
            run.plans_name,
            num_gpus=gpus,
            continue_training=_begun(run),
            device=torch_device,
        )
        return run.model_folder
    with suppress_output(run.fold_folder / "console.txt"):
        trainer = _trainer(run, torch_device)
        maybe_load_checkpoint(trainer, continue_training=_begun(run), validation_only=False)
        batches = trainer.num_iterations_per_epoch + trainer.num_val_iterations_per_epoch
        on_start(batches * max(0, trainer.num_epochs - trainer.current_epoch))
        trainer.on_iteration = on_iteration
        trainer.on_preparation = on_preparation
        if not run.finished:
            trainer.run_training()
        if validate and not (run.fold_folder / "validation" / "summary.json").is_file():
            trainer.perform_actual_validation()
    return run.model_folder


def _setup(plans: dict[str, Any]) -> dict[str, Any]:
    """Plans without the version that wrote them, new keys filled in: a newer nnDistill may continue a run."""
    setup = RunSetup.of(plans).model_dump(mode="json", exclude={"nndistill_version"})
    return dict(json.loads(json.dumps({**plans, KEY: setup})))  # tuples become lists, as in a file


def _trainer(run: Run, device: torch.device) -> nnUNetTrainerRecipe:
    """Build the trainer as nnU-Net does from its name, without nnU-Net's search through all trainers."""
    classes = {trainer.__name__: trainer for trainer in (nnUNetTrainerRecipe, nnUNetTrainerDistill)}
    return classes[run.trainer](
        {**read_json(run.plans_file), "continue_training": _begun(run)},
        run.configuration,
        run.fold if run.fold == "all" else int(run.fold),
        read_json(run.plans_file.parent / "dataset.json"),
        device,
    )


def _begun(run: Run) -> bool:
    return any(run.fold_folder.glob("checkpoint_*.pth"))


def _with_our_trainers(paths: str) -> str:
    folders = [path for path in paths.split(os.pathsep) if path]
    return os.pathsep.join(dict.fromkeys([*folders, str(TRAINERS)]))
