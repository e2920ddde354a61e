"""Time and memory that were measured for the models of a report: a file that `nndistill benchmark` or a user wrote."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ..benchmark.result import MEASUREMENT
from ..errors import UnknownName, UserError
from ..files import read_json
from ..validation import explain


class MeasuredCost(BaseModel):
    """What is known of one model; other keys are passed over.

    Args:
        latency_s: Seconds per case.
        memory_bytes: Peak memory.
        measured_on: Description of the machine.
    """

    model_config = ConfigDict(frozen=True, strict=True)

    latency_s: float | None = Field(default=None, gt=0)
    memory_bytes: int | None = Field(default=None, gt=0)
    measured_on: str = ""


def read_costs(file: Path, models: Collection[str]) -> dict[str, MeasuredCost]:
    """Read the costs by model.

    Args:
        file: JSON with an object per model.
        models: Names and folders of the models that are reported.

    Raises:
        UserError: The file is missing or holds something else.
        UnknownName: It has an entry, and none for these models.
    """
    content = read_json(file)
    costs = {}
    for name, values in content.items():
        if name == MEASUREMENT:
            continue
        try:
            costs[name] = MeasuredCost.model_validate(values)
        except ValidationError as error:
            reason = explain(error, MeasuredCost, values).sentence
            raise UserError(f"{file}, {name}: {reason}", option="benchmark") from error
    if costs and not costs.keys() & set(models):
        raise UnknownName("model", next(iter(costs)), models, option="benchmark")
    return costs
