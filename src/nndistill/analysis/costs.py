"""What a teacher and students of it would cost, from plans alone: nothing has to be trained."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from ..dataset_json import check_dataset_json
from ..files import read_json
from ..nnunet.architecture import Architecture
from ..nnunet.configuration import check_plans
from ..nnunet.models.model_folder import ModelFolder
from ..nnunet.plans import (
    build_network,
    distillable_configuration,
    features_per_stage,
    input_channels,
    patches_per_case,
    resolved_configuration,
)
from ..nnunet.student_shape import StudentShape
from .complexity import network_complexity


def network_costs(
    plans_or_model: Path,
    *,
    configuration: str | None = None,
    reduction: int | None = None,
    features: Sequence[int] | None = None,
    stages: int | None = None,
    blocks: Sequence[int] | None = None,
    architecture: Architecture = "teacher",
) -> pd.DataFrame:
    """Compare the network of plans with a student of it.

    Args:
        plans_or_model: A plans file with a `dataset.json` next to it, or a model folder.
        configuration: Name of a configuration; default: the one that a model folder was trained with, or in a plans
            file `3d_fullres`, or else the first that needs no other.
        reduction: Factor by which the student's channels are reduced, r of the paper. Default: 4, without `features`.
        features: Channels of each student stage, instead of `reduction`.
        stages: As in `nndistill.prepare_student`, and so are the next two.
        blocks: Of each encoder stage.
        architecture: `teacher` or `plain`.

    Returns:
        Rows `network` and `student`; the columns are those of `candidate_costs`.

    Raises:
        UserError: A file is missing or not a plans file, or has no such configuration; or no student of
            this shape can be made.
    """
    shape = StudentShape(reduction, features, stages, blocks, architecture)
    costs = candidate_costs(plans_or_model, [shape], configuration=configuration)
    return costs.rename(index={shape.name: "student"})


def candidate_costs(
    plans_or_model: Path, candidates: Sequence[StudentShape], *, configuration: str | None = None
) -> pd.DataFrame:
    """Compare the network of plans with several students that it could have, so that one can be chosen.

    Args:
        plans_or_model: As in `network_costs`.
        candidates: Shapes of the students.
        configuration: As in `network_costs`.

    Returns:
        The row `network`, and one for each candidate with the name of its shape, such as `r4_stages4`; columns
        `features`, `patch`, `parameters`, `flops_patch`, `patches_case`, `flops_case` (the data set's median image
        under nnU-Net's sliding window with half-overlapping patches, without mirroring), `parameters_ratio` and
        `flops_ratio` (how many times as many the network has). FLOPs are those of convolutions, two per multiply-add.

    Raises:
        UserError: A file is missing or not a plans file, or a candidate cannot be made.

    Example:
        >>> costs = candidate_costs(teacher_folder, [StudentShape(reduction=r) for r in (1, 2)])
        >>> list(costs.index), float(costs.loc["r1", "flops_ratio"])
        (['network', 'r1', 'r2'], 1.0)
    """
    plans, dataset_json, name = _read(plans_or_model, configuration)
    networks = {"network": plans}
    networks |= {shape.name: shape.derived_plans(plans, name, name=shape.name) for shape in candidates}
    costs = pd.DataFrame([_costs(of, name, dataset_json) for of in networks.values()], index=list(networks))
    whole = costs.iloc[0]
    return costs.assign(
        parameters_ratio=whole["parameters"] / costs["parameters"],
        flops_ratio=whole["flops_patch"] / costs["flops_patch"],
    )


def model_costs(plans_or_model: Path, *, configuration: str | None = None) -> dict[str, Any]:
    """The row `network` of `network_costs`: what a network costs, without a student of it."""
    plans, dataset_json, name = _read(plans_or_model, configuration)
    return _costs(plans, name, dataset_json)


def _read(plans_or_model: Path, configuration: str | None) -> tuple[dict[str, Any], dict[str, Any], str]:
    plans_file = plans_or_model / "plans.json" if plans_or_model.is_dir() else plans_or_model
    plans, dataset_json = read_json(plans_file), read_json(plans_file.parent / "dataset.json")
    check_plans(plans, source=str(plans_file))
    check_dataset_json(dataset_json, source=str(plans_file.parent / "dataset.json"))
    if configuration is None and plans_or_model.is_dir():
        configuration = ModelFolder.read(plans_or_model).configuration()
    return plans, dataset_json, distillable_configuration(plans, configuration, source=str(plans_file))


def _costs(plans: dict[str, Any], configuration: str, dataset_json: dict[str, Any]) -> dict[str, Any]:
    patch = resolved_configuration(plans, configuration)["patch_size"]
    channels = input_channels(plans, configuration, dataset_json)
    cost = network_complexity(build_network(plans, configuration, dataset_json), (1, channels, *patch))
    patches = patches_per_case(plans, configuration)
    return {
        "features": features_per_stage(plans, configuration),
        "patch": list(patch),
        "parameters": cost.parameters,
        "flops_patch": cost.flops,
        "patches_case": patches,
        "flops_case": cost.flops * patches,
    }
