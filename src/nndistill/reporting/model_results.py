"""The results that tables, figures and the HTML page show: models with their metrics, and the cases they predicted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import pandas as pd

from ..errors import UserError

METRIC_COLUMNS = ("case", "label", "dice", "hd95_mm", "nsd")
"""The columns of `metrics.csv` that a report needs."""


@dataclass(frozen=True)
class Cost:
    """What one network costs; a report leaves out what is unknown.

    Args:
        parameters: Trainable parameters.
        flops_patch: FLOPs of the convolutions for one patch; a multiply-add counts as two.
        flops_case: The same for a whole case.
        latency_s: Measured seconds per case.
        memory_bytes: Measured peak memory.
        measured_on: Description of the machine on which they were measured.
    """

    parameters: int
    flops_patch: int
    flops_case: int
    latency_s: float | None = None
    memory_bytes: int | None = None
    measured_on: str = ""


@dataclass(frozen=True)
class ReportedModel:
    """A model as a report shows it. Name and metrics are enough; a report leaves out everything else that is missing.

    Args:
        name: Its heading, unique among the models.
        metrics: One row per case and label, with the columns of `metrics.csv`.
        role: A teacher is the reference to reach, so a table never marks it as the best model.
        predictions: Label map of each case.
        method: How it was distilled, such as `dcd`.
        options: All options of the method, including defaults.
        cost: What the network costs.
        curves: Training log, one row per epoch: `segmentation_loss`, `distillation_loss`, `dice`.
        provenance: How it was made, for example `{"Epochs": "1000"}`, in the order in which it is shown.
        repeats: Name of an earlier model from which it differs in nothing but the seed.
    """

    name: str
    metrics: pd.DataFrame
    role: Literal["teacher", "student"] = "student"
    predictions: Mapping[str, Path] = field(default_factory=dict)
    method: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    cost: Cost | None = None
    curves: pd.DataFrame | None = None
    provenance: Mapping[str, str] = field(default_factory=dict)
    repeats: str | None = None

    def __post_init__(self) -> None:
        missing = [column for column in METRIC_COLUMNS if column not in self.metrics.columns]
        if missing:
            raise UserError(f"the metrics of {self.name!r} have no column {', '.join(missing)}.")


@dataclass(frozen=True)
class ReportedCases:
    """The cases that were predicted.

    Args:
        references: Label map of each case.
        label_names: Name of each label value; 0 is not shown.
        images: Image of each channel of each case.
        ignore: Value of reference voxels that are not annotated, and therefore not shown as wrong.
        measured: How the metrics were measured, as a text for the reader.
    """

    references: Mapping[str, Path]
    label_names: Mapping[int, str]
    images: Mapping[str, Mapping[str, Path]] = field(default_factory=dict)
    ignore: int | None = None
    measured: str = ""


def teacher_of(models: Sequence[ReportedModel]) -> ReportedModel | None:
    """The first teacher among the models."""
    return next((model for model in models if model.role == "teacher"), None)


def students_of(models: Sequence[ReportedModel]) -> list[ReportedModel]:
    """All models that are not teachers, in order."""
    return [model for model in models if model.role == "student"]


def check_models(models: Sequence[ReportedModel]) -> None:
    """Refuse models that cannot be in one report.

    Raises:
        UserError: There is no model, or two models have the same name.
    """
    if not models:
        raise UserError("there is no model to report on.")
    names = [model.name for model in models]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise UserError(f"two models are named {twice[0]!r}; give each model a name of its own.", option="names")
