"""A recipe: how a network is trained, and what a student is asked to match.

First the parts, each a model of its own (optimiser, weight schedule, extras), then `Recipe`, which is made of them.
"""

from __future__ import annotations

from collections.abc import Iterable
from math import cos, pi
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, ValidationError, ValidationInfo, field_validator
from pydantic_core import PydanticCustomError
from torch.nn import Parameter
from torch.optim import SGD, AdamW, Optimizer

from ..errors import UserError
from ..validation import Strict, explain


class Sgd(Strict):
    """Stochastic gradient descent with momentum, the optimiser of nnU-Net and of the paper."""

    name: Literal["sgd"] = "sgd"
    learning_rate: float = Field(gt=0)
    momentum: float = Field(default=0.99, ge=0, lt=1)
    nesterov: bool = True
    weight_decay: float = Field(default=3e-5, ge=0)

    def build(self, parameters: Iterable[Parameter]) -> Optimizer:
        """Make the optimiser of these parameters."""
        return SGD(
            parameters,
            lr=self.learning_rate,
            momentum=self.momentum,
            nesterov=self.nesterov and self.momentum > 0,  # without momentum there is nothing to look ahead by
            weight_decay=self.weight_decay,
        )


class Adamw(Strict):
    """Adam with decoupled weight decay, for short budgets."""

    name: Literal["adamw"]
    learning_rate: float = Field(gt=0)
    weight_decay: float = Field(default=1e-2, ge=0)

    def build(self, parameters: Iterable[Parameter]) -> Optimizer:
        """Make the optimiser of these parameters.

        On a processor, one kernel updates each of them; the dozen operations that it replaces take several times as
        long, which shows in the steps of small networks.
        """
        trained = list(parameters)
        on_cpu = all(parameter.device.type == "cpu" for parameter in trained)
        return AdamW(trained, lr=self.learning_rate, weight_decay=self.weight_decay, fused=on_cpu or None)


class Constant(Strict):
    """The full weight μ from the first epoch on (the paper, Eq. 8)."""

    name: Literal["constant"] = "constant"

    def factor(self, share: float) -> float:
        """Share of μ after a share of the training, both in [0, 1]."""
        return 1.0


class CosineRamp(Strict):
    r"""No weight until `start`, then a rise to the full weight along half a cosine.

    $$\tfrac12\big(1-\cos(\pi\,\min(1, \max(0, (s - s_0)/\Delta)))\big)$$

    Args:
        start: $s_0$, share of the training before the ramp, in [0, 1).
        length: $\Delta$, share of the training that the ramp takes, in (0, 1].
    """

    name: Literal["cosine-ramp"]
    start: float = Field(default=0.0, ge=0, lt=1)
    length: float = Field(gt=0, le=1)

    def factor(self, share: float) -> float:
        """Share of μ after a share of the training, both in [0, 1]."""
        return (1 - cos(pi * min(1.0, max(0.0, (share - self.start) / self.length)))) / 2


class Balance(Strict):
    r"""A weight μ that keeps the distillation's gradient at a share of the segmentation's.

    $$\mu = \rho\Big/ r, \qquad
    \log r \leftarrow s\log r + (1 - s) \log\frac{\lVert\nabla\mathcal L_{method}\rVert_2}
    {\lVert\nabla\mathcal L_{seg}\rVert_2}$$

    The gradients are those of the student's parameters. The first measurement sets $r$; the schedule of μ multiplies
    the result.

    Args:
        share: ρ, above 0 and at most 10.
        every: Batches from one measurement to the next, counted anew in every epoch. A measurement costs two more
            backward passes through the student, one for each loss.
        smoothing: $s$, in [0, 1): how much of the earlier measurements is kept. 0 for the last one alone.

    Example:
        >>> Balance(share=0.5).every
        25
    """

    share: float = Field(gt=0, le=10)
    every: int = Field(default=25, ge=1)
    smoothing: float = Field(default=0.9, ge=0, lt=1)


def _share_alone(value: Any) -> Any:
    """`balance: 0.5` for `balance: {share: 0.5}`."""
    return {"share": value} if isinstance(value, (int, float)) and not isinstance(value, bool) else value


class EarlyStopping(Strict):
    """Stop if nnU-Net's running validation Dice has not risen for a while.

    Args:
        patience: Number of epochs without a new best value.
    """

    patience: int = Field(ge=1)


class WeightAveraging(Strict):
    r"""Exponential moving average of the weights, $\bar w \leftarrow d\,\bar w + (1-d)\,w$ after every batch.

    The average is validated, predicts and is exported; the weights themselves are kept for resuming.

    Args:
        decay: $d$; the average looks back over about $1/(1-d)$ batches, so the training has to be much longer.
    """

    decay: float = Field(gt=0, lt=1)


Checkpoint = Literal["final", "best"]
"""Which of the checkpoints that nnU-Net writes is meant."""

Init = Literal["random", "teacher"]
"""What a student starts from."""

WantedPrecision = Literal["auto", "float32", "bfloat16"]
"""What a recipe can say about precision."""


class Recipe(Strict):
    """A training setup. It is written into the plans of every run, so that the run describes itself.

    Args:
        description: Its purpose, in one sentence.
        method: The distillation method: a registered name such as `dcd`, or a combination such as `dcd+logits`.
        method_options: The method's options.
        distillation_weight: μ of Eq. 8, the weight of the distillation loss, which is added to the segmentation loss.
            Default: the method's own `source_weight`; if it has none, the weight is balanced at a share of 0.5.
        balance: Instead of a weight, the share of the segmentation's gradient at which the distillation's is kept: a
            number, or `share`, `every` and `smoothing` of `Balance`.
        weight_schedule: How that weight changes: `constant`, or `cosine-ramp` with `start` and `length`.
        teacher_checkpoint: Which of the teacher's checkpoints teaches: `final` or `best`. Default: the one that its
            own recipe declares the result.
        init: What a student starts from: `random` weights, or its `teacher`'s most important channels.
        optimizer: `sgd` or `adamw`, with its options. The learning rate follows nnU-Net's polynomial decay.
        epochs: Largest number of epochs.
        iterations: Training batches per epoch.
        validation_iterations: Validation batches per epoch, for nnU-Net's pseudo Dice.
        weight_averaging: Average the weights over time, with this `decay`. Default: no average.
        early_stopping: Stop after `patience` epochs without a better validation Dice. Default: never.
        checkpoint: Which checkpoint is the result, which is validated and predicts: `final` or `best`.
        precision: What convolutions compute in: `float32`, `bfloat16`, or `auto`. That is nnU-Net's mixed precision on
            CUDA; on a processor, bfloat16 if a measurement at the start shows that it is faster there, else float32. A
            run keeps the precision in which it began.
        accumulate: Parts in which a batch is computed, one after the other, before the step: less memory, and the same
            step up to rounding (but see `docs/how-to/resume-and-scale.md` on batch Dice).
        mirroring: Mirror patches in training, and average over mirrored copies in prediction.
        save_every: Epochs between two `checkpoint_latest.pth`. A run resumes from it, or from a newer best one.
        seed: Seed of the initial weights and of sampling. Default: a different training each time, as in nnU-Net.

    Example:
        >>> recipe = Recipe(
        ...     distillation_weight=0.05,
        ...     optimizer={"name": "sgd", "learning_rate": 0.01},
        ...     epochs=100,
        ...     iterations=250,
        ...     validation_iterations=50,
        ... )
        >>> recipe.method, recipe.weight_at(0)
        ('dcd', 0.05)
        >>> recipe.adjusted(epochs=10, learning_rate=0.1).optimizer.learning_rate
        0.1
    """

    description: str = ""
    method: str = "dcd"
    method_options: dict[str, Any] = Field(default_factory=dict)
    distillation_weight: float | None = Field(default=None, ge=0)
    balance: Annotated[Balance | None, BeforeValidator(_share_alone)] = None
    weight_schedule: Annotated[Constant | CosineRamp, Field(discriminator="name")] = Constant()
    teacher_checkpoint: Checkpoint | None = None
    init: Init = "random"
    optimizer: Annotated[Sgd | Adamw, Field(discriminator="name")]
    epochs: int = Field(ge=1)
    iterations: int = Field(ge=1)
    validation_iterations: int = Field(ge=1)
    weight_averaging: WeightAveraging | None = None
    early_stopping: EarlyStopping | None = None
    checkpoint: Checkpoint = "final"
    precision: WantedPrecision = "auto"
    accumulate: int = Field(default=1, ge=1)
    mirroring: bool = True
    save_every: int = Field(default=10, ge=1)
    seed: int | None = Field(default=None, ge=0)

    @field_validator("balance")
    @classmethod
    def _balance_or_weight(cls, balance: Balance | None, info: ValidationInfo) -> Balance | None:
        if balance is not None and info.data.get("distillation_weight") is not None:
            raise PydanticCustomError("both", "distillation_weight is given as well; leave out one of the two")
        return balance

    def weight_at(self, epoch: int, full: float | None = None) -> float:
        """Return μ in an epoch, counted from 0.

        Args:
            epoch: The epoch.
            full: What the schedule multiplies; default: `distillation_weight`.

        Raises:
            ValueError: There is neither.
        """
        weight = self.distillation_weight if full is None else full
        if weight is None:
            raise ValueError("this recipe leaves the weight to the method; give one.")
        return weight * self.weight_schedule.factor(epoch / self.epochs)

    def adjusted(
        self, *, learning_rate: float | None = None, balance: Balance | float | None = None, **changes: Any
    ) -> Recipe:
        """Return a copy with some values replaced; `None` keeps the recipe's value.

        Args:
            learning_rate: Initial learning rate of the optimiser.
            balance: Takes the place of the weight; a share alone keeps the other settings of the recipe's balance.
            **changes: Values of the recipe by name. Another `method` drops the options and the weight of the present
                one, and a new `distillation_weight` its balance.

        Raises:
            UserError: A new value is out of range, there is no such key, or both a weight and a balance are given.
        """
        given = {key: value for key, value in changes.items() if value is not None}
        values = {**self.model_dump(), **given}
        if learning_rate is not None:
            values["optimizer"] = {**values["optimizer"], "learning_rate": learning_rate}
        if values["method"] != self.method:
            values["method_options"] = changes.get("method_options") or {}
            values["distillation_weight"] = given.get("distillation_weight")
        if balance is not None:
            if "distillation_weight" in given:
                raise UserError(
                    "a weight and a balance are given; the balance sets the weight, so leave out one of the two.",
                    option=("weight", "balance"),
                )
            share_alone = not isinstance(balance, Balance)
            values["distillation_weight"] = None
            values["balance"] = {**(values["balance"] or {}), "share": balance} if share_alone else balance
        elif "distillation_weight" in given:
            values["balance"] = None
        try:
            return Recipe.model_validate(values)
        except ValidationError as error:
            raise UserError(f"the recipe cannot be changed so: {explain(error, Recipe, values).sentence}") from error
