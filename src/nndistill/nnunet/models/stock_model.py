"""A trained network for any nnU-Net installation: without training state and without this machine's folders."""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path
from typing import Any

from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer

from ..run_setup import KEY
from ..trainer_class import find_trainer
from .checkpoints import read_checkpoint
from .model_folder import ModelFolder


def stock_checkpoint(folder: ModelFolder, checkpoint_file: Path) -> dict[str, Any]:
    """What nnU-Net's prediction reads from a checkpoint: weights, trainer, configuration and mirroring axes.

    The trainer is nnU-Net's own if that builds the same network, so that no other has to be installed.

    Raises:
        UserError: The checkpoint cannot be read, or does not belong to the folder's plans.
    """
    checkpoint = read_checkpoint(checkpoint_file)
    network = folder.network(checkpoint_file)  # refuses weights that do not fit
    fold = checkpoint_file.parent.name.removeprefix("fold_")
    return {
        "network_weights": network.state_dict(),
        "trainer_name": _plainest_trainer(checkpoint["trainer_name"]),
        "init_args": {
            "plans": portable_plans(folder.plans),
            "configuration": folder.configuration(checkpoint),
            "fold": int(fold) if fold.isdigit() else fold,
            "dataset_json": folder.dataset_json,
        },
        "inference_allowed_mirroring_axes": checkpoint.get("inference_allowed_mirroring_axes"),
    }


def portable_plans(plans: dict[str, Any]) -> dict[str, Any]:
    """Plans that still say how a student was made, with its teacher's name instead of its path on this machine."""
    copied = deepcopy(plans)
    teacher = ((copied.get(KEY) or {}).get("distillation") or {}).get("teacher")
    for model in [teacher, *teacher.get("also", [])] if teacher else []:
        model["folder"] = Path(model["folder"]).name
    return copied


def _plainest_trainer(name: str) -> str:
    trainer = find_trainer(name)
    same_network = trainer.build_network_architecture is nnUNetTrainer.build_network_architecture
    return nnUNetTrainer.__name__ if same_network else name
