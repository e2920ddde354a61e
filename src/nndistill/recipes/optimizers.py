"""Optimisers a recipe can name."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

import torch
from pydantic import Field
from torch.optim import SGD, AdamW, Optimizer

from .strict import Strict


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
