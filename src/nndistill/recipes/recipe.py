"""A recipe: how a network is trained, apart from what it is and what it is compared with."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from torch.optim import SGD, AdamW, Optimizer

from ..errors import UnknownName, UserError


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Sgd(_Strict):
    """Stochastic gradient descent with momentum, nnU-Net's own optimiser."""

    name: Literal["sgd"] = "sgd"
    learning_rate: float = Field(gt=0)
    momentum: float = Field(default=0.99, ge=0, lt=1)
    nesterov: bool = True
    weight_decay: float = Field(default=3e-5, ge=0)

    def build(self, parameters: Iterable[torch.nn.Parameter]) -> Optimizer:
        return SGD(
            parameters,
            lr=self.learning_rate,
            momentum=self.momentum,
            nesterov=self.nesterov,
            weight_decay=self.weight_decay,
        )


class Adamw(_Strict):
    """Adam with decoupled weight decay, for short budgets."""

    name: Literal["adamw"]
    learning_rate: float = Field(gt=0)
    weight_decay: float = Field(default=1e-2, ge=0)

    def build(self, parameters: Iterable[torch.nn.Parameter]) -> Optimizer:
        return AdamW(parameters, lr=self.learning_rate, weight_decay=self.weight_decay)


class Recipe(_Strict):
    """A training setup. It is written into the plans of every run, so that the run describes itself.

    Args:
        distillation_weight: μ of Eq. 8, the weight of the distillation loss beside the segmentation loss.
        optimizer: `sgd` or `adamw`, with its options; the rate follows nnU-Net's polynomial decay.
        epochs: Number of epochs.
        iterations: Training batches an epoch.
        validation_iterations: Validation batches an epoch (nnU-Net's pseudo Dice).
        mirroring: Mirror patches in training, and average over mirrored copies in prediction.
        save_every: Epochs between two writings of `checkpoint_latest.pth`, from which a run resumes.
        seed: Seed of weights and sampling; none leaves them to chance, as nnU-Net does.
    """

    distillation_weight: float = Field(ge=0)
    optimizer: Annotated[Sgd | Adamw, Field(discriminator="name")]
    epochs: int = Field(ge=1)
    iterations: int = Field(ge=1)
    validation_iterations: int = Field(ge=1)
    mirroring: bool = True
    save_every: int = Field(default=10, ge=1)
    seed: int | None = Field(default=None, ge=0)

    def adjusted(self, *, learning_rate: float | None = None, **changes: Any) -> Recipe:
        """Return a copy with some values replaced; a value of `None` leaves the recipe's own.

        Args:
            learning_rate: The optimiser's.
            **changes: Values of the recipe by name.

        Raises:
            UserError: A new value is out of range.
        """
        given = {key: value for key, value in changes.items() if value is not None}
        values = {**self.model_dump(), **given}
        if learning_rate is not None:
            values["optimizer"] = {**values["optimizer"], "learning_rate": learning_rate}
        return _validated(values, source="the options given")


def recipe_names() -> list[str]:
    """Names of the recipes that come with nnDistill."""
    return sorted(path.name.removesuffix(".yaml") for path in _shipped())


def load_recipe(name_or_file: str | Path) -> Recipe:
    """Load a recipe by name, or from a YAML file of the user's.

    Raises:
        UnknownName: No recipe has this name, and no file is there.
        UserError: The file is not valid: the message names the key and what it may be.
    """
    path = Path(name_or_file)
    if path.suffix in {".yaml", ".yml"}:
        if not path.is_file():
            raise UserError(f"there is no recipe file {path}.")
        return _validated(_parsed(path.read_text(), source=str(path)), source=str(path))
    shipped = {file.name.removesuffix(".yaml"): file for file in _shipped()}
    if str(name_or_file) not in shipped:
        raise UnknownName("recipe", str(name_or_file), shipped)
    source = f"recipe {name_or_file}"
    return _validated(_parsed(shipped[str(name_or_file)].read_text(), source=source), source=source)


def _shipped() -> Iterator[Any]:
    return (file for file in files(__package__).iterdir() if file.name.endswith(".yaml"))


def _parsed(text: str, *, source: str) -> Any:
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise UserError(f"{source} is not valid YAML: {' '.join(str(error).split())}") from error


def _validated(values: Any, *, source: str) -> Recipe:
    try:
        return Recipe.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"]) or "recipe"
        raise UserError(f"{source}: {key}: {first['msg']} (given: {first['input']!r}).") from error
