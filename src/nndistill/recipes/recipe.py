"""A recipe: how a network is trained, and what a student is asked to match."""

from __future__ import annotations

from collections.abc import Iterable
from math import cos, pi
from typing import Annotated, Any, Literal

import torch
from pydantic import Field, ValidationError
from torch.optim import SGD, AdamW, Optimizer

from ..errors import UserError
from ..validation import Strict, explain


class Sgd(Strict):
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


class Adamw(Strict):
    """Adam with decoupled weight decay, for short budgets."""

    name: Literal["adamw"]
    learning_rate: float = Field(gt=0)
    weight_decay: float = Field(default=1e-2, ge=0)

    def build(self, parameters: Iterable[torch.nn.Parameter]) -> Optimizer:
        return AdamW(parameters, lr=self.learning_rate, weight_decay=self.weight_decay)


class Constant(Strict):
    """The full weight from the first epoch on (Eq. 8 of the paper)."""

    name: Literal["constant"] = "constant"

    def factor(self, share: float) -> float:
        """Share of the weight at `share` of the training, both in [0, 1]."""
        return 1.0


class CosineRamp(Strict):
    r"""Nothing until `start`, then up to the full weight along half a cosine of the given length.

    $$\tfrac12\big(1-\cos(\pi\,\min(1, \max(0, (s - s_0)/\Delta)))\big)$$

    Args:
        start: $s_0$, share of the training before the ramp, in [0, 1).
        length: $\Delta$, share of the training it takes, in (0, 1].
    """

    name: Literal["cosine-ramp"]
    start: float = Field(default=0.0, ge=0, lt=1)
    length: float = Field(gt=0, le=1)

    def factor(self, share: float) -> float:
        """Share of the weight at `share` of the training, both in [0, 1]."""
        return (1 - cos(pi * min(1.0, max(0.0, (share - self.start) / self.length)))) / 2


Checkpoint = Literal["final", "best"]


class EarlyStopping(Strict):
    """Stop when nnU-Net's running validation Dice has not risen for a while.

    Args:
        patience: Epochs without a new best.
    """

    patience: int = Field(ge=1)


class WeightAveraging(Strict):
    r"""Exponential moving average of the weights, $\bar w \leftarrow d\,\bar w + (1-d)\,w$ after every batch.

    The average is what is validated, predicts and is exported; the weights themselves are kept to resume from.

    Args:
        decay: $d$; the average looks back over about $1/(1-d)$ batches, so a training has to be much longer.
    """

    decay: float = Field(gt=0, lt=1)


class Recipe(Strict):
    """A training setup. It is written into the plans of every run, so that the run describes itself.

    Args:
        description: What it is for, in a sentence.
        method: The distillation method, a name of `nndistill.methods.METHODS` or a combination.
        method_options: The method's options.
        distillation_weight: μ of Eq. 8, the weight of the distillation loss beside the segmentation loss.
        weight_schedule: How that weight changes: `constant`, or `cosine-ramp` with `start` and `length`.
        teacher_checkpoint: Which of the teacher's checkpoints teaches, `final` or `best`; default: the one that is
            its result.
        optimizer: `sgd` or `adamw`, with its options; the rate follows nnU-Net's polynomial decay.
        epochs: Number of epochs, at most.
        iterations: Training batches an epoch.
        validation_iterations: Validation batches an epoch (nnU-Net's pseudo Dice).
        weight_averaging: Average the weights over time, with this `decay`; none by default.
        early_stopping: Stop after `patience` epochs without a better validation Dice; none by default.
        checkpoint: Which checkpoint is the result, validated and predicted with: `final` or `best`.
        mirroring: Mirror patches in training, and average over mirrored copies in prediction.
        save_every: Epochs between two writings of `checkpoint_latest.pth`, from which a run resumes.
        seed: Seed of weights and sampling; none leaves them to chance, as nnU-Net does.
    """

    description: str = ""
    method: str = "dcd"
    method_options: dict[str, Any] = Field(default_factory=dict)
    distillation_weight: float = Field(ge=0)
    weight_schedule: Annotated[Constant | CosineRamp, Field(discriminator="name")] = Constant()
    teacher_checkpoint: Checkpoint | None = None
    optimizer: Annotated[Sgd | Adamw, Field(discriminator="name")]
    epochs: int = Field(ge=1)
    iterations: int = Field(ge=1)
    validation_iterations: int = Field(ge=1)
    weight_averaging: WeightAveraging | None = None
    early_stopping: EarlyStopping | None = None
    checkpoint: Checkpoint = "final"
    mirroring: bool = True
    save_every: int = Field(default=10, ge=1)
    seed: int | None = Field(default=None, ge=0)

    def weight_at(self, epoch: int) -> float:
        """μ in an epoch, counted from 0."""
        return self.distillation_weight * self.weight_schedule.factor(epoch / self.epochs)

    def adjusted(self, *, learning_rate: float | None = None, **changes: Any) -> Recipe:
        """Return a copy with some values replaced; a value of `None` leaves the recipe's own.

        Args:
            learning_rate: The optimiser's.
            **changes: Values of the recipe by name. Another `method` drops the options of the recipe's own.

        Raises:
            UserError: A new value is out of range.
        """
        given = {key: value for key, value in changes.items() if value is not None}
        values = {**self.model_dump(), **given}
        if learning_rate is not None:
            values["optimizer"] = {**values["optimizer"], "learning_rate": learning_rate}
        if values["method"] != self.method:
            values["method_options"] = changes.get("method_options") or {}
        try:
            return Recipe.model_validate(values)
        except ValidationError as error:
            raise UserError(f"these changes do not make a recipe: {explain(error, Recipe, values).sentence}") from error
