"""The folder of a trained nnU-Net: `plans.json`, `dataset.json` and `fold_X/checkpoint_*.pth`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from ...dataset_json import check_dataset_json
from ...errors import UserError
from ...files import read_json
from ...recipes.recipe import Checkpoint
from ..configuration import check_plans
from ..plans import build_network, distillable_configuration
from ..run_setup import KEY
from .checkpoints import read_checkpoint
from .trained_folds import trained_folds
from .weights import load_weights

_FILES = {"final": "checkpoint_final.pth", "best": "checkpoint_best.pth"}


@dataclass(frozen=True)
class ModelFolder:
    """A stock nnU-Net model folder.

    Args:
        path: The folder.
        plans: Content of its `plans.json`.
        dataset_json: Content of its `dataset.json`.
    """

    path: Path
    plans: dict[str, Any]
    dataset_json: dict[str, Any]

    @classmethod
    def read(cls, path: Path) -> ModelFolder:
        """Read and check the two JSON files.

        Raises:
            UserError: This is not a model folder of nnU-Net v2, or a file cannot be read; the message names the entry.
        """
        if not (path / "plans.json").is_file() or not (path / "dataset.json").is_file():
            raise UserError(
                f"{path} is not a trained nnU-Net: it has no plans.json and dataset.json. Give the folder "
                "nnUNet_results/DATASET/TRAINER__PLANS__CONFIGURATION."
            )
        plans, dataset_json = read_json(path / "plans.json"), read_json(path / "dataset.json")
        check_plans(plans, source=str(path / "plans.json"))
        check_dataset_json(dataset_json, source=str(path / "dataset.json"))
        return cls(path=path, plans=plans, dataset_json=dataset_json)

    @property
    def folds(self) -> list[str]:
        """Folds with a checkpoint: `["0", "1", "all"]`."""
        return trained_folds(self.path)

    def only_fold(self) -> str:
        """Return the fold, if there is exactly one.

        Raises:
            UserError: There are several folds, which the message lists, or none.
        """
        if len(self.folds) == 1:
            return self.folds[0]
        if not self.folds:
            raise UserError(f"{self.path} holds no trained network: it has no fold_X/checkpoint_final.pth.")
        raise UserError(f"{self.path} holds the folds {', '.join(self.folds)}; choose one of them.", option="fold")

    def checkpoint_file(self, fold: str, name: str | None = None, *, prefer: Checkpoint | None = None) -> Path:
        """Return the path of a fold's checkpoint: the one of this name, or else the preferred one, or else the other.

        Args:
            fold: `0` to `4`, or `all`.
            name: File name. If it is given, no other checkpoint is taken.
            prefer: Default: the choice of the training's recipe; of a stock nnU-Net, `final`.

        Raises:
            UserError: The fold has no such checkpoint; the message lists the folds that have one.
        """
        prefer = prefer or self.plans.get(KEY, {}).get("recipe", {}).get("checkpoint", "final")
        names = [name] if name else sorted(_FILES.values(), key=lambda file: file != _FILES[prefer])
        for file in names:
            path = self.path / f"fold_{fold}" / file
            if path.is_file():
                return path
        present = [each for each in self.folds if name is None or (self.path / f"fold_{each}" / name).is_file()]
        raise UserError(
            f"there is no {name or 'finished checkpoint'} for fold {fold} in {self.path} (folds with "
            f"{name or 'a checkpoint'}: {', '.join(present) or 'none'}).",
            option="fold",
        )

    def configuration(self, checkpoint: dict[str, Any] | None = None) -> str:
        """Return the name of the configuration that was trained.

        Args:
            checkpoint: Content of a checkpoint, which names it. Default: the folder's name tells it, and if it does
                not, a checkpoint in the folder does.

        Raises:
            UserError: It is the second stage of a cascade.
        """
        named = self.path.resolve().name.split("__")[-1]
        told = named if named in self.plans["configurations"] else None
        if checkpoint is None and told is None and self.folds:
            checkpoint = read_checkpoint(self.checkpoint_file(self.folds[0]))
        trained = checkpoint["init_args"].get("configuration") if checkpoint else None
        return distillable_configuration(self.plans, trained or told, source=str(self.path))

    def network(self, checkpoint_file: Path) -> nn.Module:
        """Build the network of a checkpoint with its weights, on the CPU, without deep supervision.

        Raises:
            UserError: The checkpoint cannot be read, or does not fit the plans.
        """
        checkpoint = read_checkpoint(checkpoint_file)
        network = build_network(
            self.plans,
            self.configuration(checkpoint),
            self.dataset_json,
            trainer=checkpoint["trainer_name"],
        )
        load_weights(network, checkpoint["network_weights"], source=checkpoint_file, plans=self.path / "plans.json")
        return network
