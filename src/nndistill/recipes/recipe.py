"""A recipe: how a network is trained, and what a student is asked to match."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError

from ..errors import UserError
from .mistakes import explain
from .optimizers import Adamw, Sgd
from .schedules import Constant, CosineRamp
from .strict import Strict

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
            raise UserError(explain(error, Recipe, values, lambda path: "the options given")) from error
