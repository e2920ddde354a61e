"""How a trained model was made: what its plans, its checkpoint and nnU-Net's records say about it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ...errors import UserError
from ...methods.registry import default_options
from ...recipes import Recipe
from ..architecture import BLOCKS
from ..plans import features_per_stage, resolved_configuration
from ..run_setup import KEY, Distillation, RunSetup, Teacher
from .checkpoints import read_checkpoint
from .model_folder import ModelFolder


@dataclass(frozen=True)
class History:
    """How one fold of a model was made.

    Args:
        setup: The recipe and the distillation; `None` for a model that nnDistill did not train.
        log: One row per epoch: `segmentation_loss`, `distillation_loss`, `gradient_share`, `distillation_weight`,
            `dice`, `seconds`.
        facts: The same in words, and where and with what it was trained, in the order in which they are shown.
    """

    setup: RunSetup | None
    log: pd.DataFrame
    facts: Mapping[str, str]

    @property
    def method(self) -> str | None:
        """Name of the distillation method; `None` for a teacher."""
        return self.setup.distillation.method if self.setup and self.setup.distillation else None

    @property
    def options(self) -> dict[str, Any]:
        """All options of the method, including defaults."""
        if self.setup is None or self.setup.distillation is None:
            return {}
        return {**default_options(self.setup.distillation.method), **self.setup.distillation.options}


def read_history(model: Path, fold: str) -> History:
    """Read how a fold was made.

    Raises:
        UserError: The folder is not a model folder, or the fold has no checkpoint that can be read.
    """
    folder = ModelFolder.read(model)
    file = folder.checkpoint_file(fold)
    checkpoint = read_checkpoint(folder.checkpoint_file(fold, prefer="final"))  # whose log is complete
    configuration = folder.configuration(checkpoint)
    logging = checkpoint.get("logging") or {}  # an export keeps none
    log = _log(logging)
    setup = RunSetup.of(folder.plans) if KEY in folder.plans else None
    resolved = resolved_configuration(folder.plans, configuration)
    debug = _debug(file.with_name("debug.json"))
    facts = {
        "Data set": folder.plans["dataset_name"],
        "Model": model.resolve().name,
        "Checkpoint": f"fold_{fold}/{file.name}",
        **(_method_facts(setup, fold, log) if setup else {}),
        "Network": _network(resolved["architecture"]),
        "Channels": _channels(folder.plans, configuration),
        "Patch": "×".join(map(str, resolved["patch_size"])),
        "Batch": str(resolved["batch_size"]),
        "Voxel": "×".join(f"{s:g}" for s in resolved["spacing"]) + " mm",
        **(_recipe_facts(setup.recipe) if setup else {}),
        "Epochs": str(len(log)),
        "Time": duration(float(log["seconds"].sum())),
        "Finished": _day(logging),
        "Device": debug.get("gpu_name") or debug.get("device", ""),
        "Precision": checkpoint["init_args"].get("plans", {}).get(KEY, {}).get("precision") or "",
        "PyTorch": debug.get("torch_version", ""),
        "nnDistill": setup.nndistill_version if setup else "",
    }
    return History(setup=setup, log=log, facts={key: value for key, value in facts.items() if value})


def duration(seconds: float) -> str:
    """A time in the unit in which it is short.

    Example:
        >>> duration(99), duration(100), duration(6000)
        ('99 s', '2 min', '1.7 h')
    """
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"


def _log(logging: Mapping[str, Any]) -> pd.DataFrame:
    """nnU-Net's log as a table; a stock training has only one loss, that of segmentation."""
    losses = _values(logging, "segmentation_losses") or _values(logging, "train_losses")
    epochs = len(losses)
    nothing = [0.0] * epochs
    ends, starts = (_values(logging, f"epoch_{what}_timestamps")[:epochs] for what in ("end", "start"))
    columns = {
        "segmentation_loss": losses,
        "distillation_loss": _values(logging, "distillation_losses") or nothing,
        "gradient_share": _values(logging, "gradient_shares") or nothing,
        "distillation_weight": _values(logging, "distillation_weights") or nothing,
        "dice": _values(logging, "ema_fg_dice") or nothing,
        "seconds": np.subtract(ends, starts) if len(ends) == len(starts) == epochs else nothing,
    }
    return pd.DataFrame({name: np.asarray(values, dtype=np.float64) for name, values in columns.items()})


def _values(logging: Mapping[str, Any], key: str) -> list[float]:
    """One value per epoch; lists, or arrays of trainers from elsewhere."""
    return [float(value) for value in logging.get(key, [])]


def _network(architecture: dict[str, Any]) -> str:
    """The name of the class and, of a U-Net, the blocks or convolutions of each encoder stage."""
    arguments = architecture["arch_kwargs"]
    blocks = [arguments[key] for key in BLOCKS if key in arguments]
    names = [architecture["network_class_name"].rpartition(".")[2]]
    return ", ".join(names + [f"blocks {_list(of) if isinstance(of, list) else of}" for of in blocks])


def _channels(plans: dict[str, Any], configuration: str) -> str:
    try:
        return _list(features_per_stage(plans, configuration))
    except UserError:  # a network without stages
        return ""


def _method_facts(setup: RunSetup, fold: str, log: pd.DataFrame) -> dict[str, str]:
    distillation = setup.distillation
    if distillation is None:
        return {}
    teacher = distillation.teacher
    facts = {"Method": ", ".join([distillation.method, *_settings(distillation.options)])}
    if distillation.method != "none":
        facts |= {
            "μ": _weight(distillation, setup.recipe),
            "Share of the gradient": _share(log),
            **_teacher_facts(teacher, fold),
            "Teacher's channels": _list(teacher.channels),
            "Unlabelled": distillation.unlabelled.described if distillation.unlabelled else "",
        }
    return facts


def _teacher_facts(teacher: Teacher, fold: str) -> dict[str, str]:
    networks = [
        f"{Path(model.folder).name}, fold_{number}/{model.checkpoint}" for model, number in teacher.networks_for(fold)
    ]
    if len(networks) == 1:
        return {"Teacher": networks[0]}
    return {"Teachers": "; ".join(networks), "Teachers together": teacher.together}


def _weight(distillation: Distillation, recipe: Recipe) -> str:
    words = distillation.weighting.described(distillation.method).removeprefix("μ = ").removeprefix("μ ")
    return ", ".join([words, *_settings(dict(recipe.weight_schedule))])


def _share(log: pd.DataFrame) -> str:
    """How strongly the distillation pulled, in the epochs in which that was measured."""
    shares = log["gradient_share"][log["gradient_share"] > 0]
    if not len(shares):
        return ""
    middle, least, most = (f"{value:.2g}" for value in (shares.median(), shares.min(), shares.max()))
    return f"distillation / segmentation {middle} (median over epochs, {least} to {most})"


def _recipe_facts(recipe: Recipe) -> dict[str, str]:
    averaging, stopping = recipe.weight_averaging, recipe.early_stopping
    return {
        "Optimiser": ", ".join(_settings(dict(recipe.optimizer))),
        "Batches per epoch": str(recipe.iterations),
        "Mirroring": "yes" if recipe.mirroring else "no",
        "Weight averaging": f"decay {averaging.decay:g}" if averaging else "",
        "Early stopping": f"after {stopping.patience} epochs" if stopping else "",
        "Seed": "none" if recipe.seed is None else str(recipe.seed),
    }


def _settings(values: Mapping[str, Any]) -> list[str]:
    """`{"name": "sgd", "learning_rate": 0.01}` as `sgd` and `learning rate 0.01`."""
    return [str(value) if key == "name" else f"{key.replace('_', ' ')} {value}" for key, value in values.items()]


def _debug(path: Path) -> dict[str, str]:
    """What nnU-Net recorded about the machine; a model from elsewhere may come without it."""
    try:
        content = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return {key: str(value) for key, value in content.items()} if isinstance(content, dict) else {}


def _day(logging: Mapping[str, Any]) -> str:
    ends = _values(logging, "epoch_end_timestamps")
    return datetime.fromtimestamp(ends[-1], tz=timezone.utc).strftime("%Y-%m-%d") if ends else ""


def _list(values: list[int]) -> str:
    return ", ".join(map(str, values))
