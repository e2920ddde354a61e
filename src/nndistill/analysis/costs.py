"""What a teacher and a student of it cost, from plans alone: nothing has to be trained."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from ..dataset_json import check_dataset_json
from ..files import read_json
from ..nnunet.configuration import check_plans
from ..nnunet.models.model_folder import ModelFolder
from ..nnunet.plans import (
    build_network,
    derive_plans,
    distillable_configuration,
    features_per_stage,
    input_channels,
    patches_per_case,
    reduced_features,
    resolved_configuration,
)
from .complexity import network_complexity


def network_costs(
    plans_or_model: Path, *, configuration: str | None = None, reduction: int = 4, features: Sequence[int] | None = None
) -> pd.DataFrame:
    """Compare the network of plans with its reduced student.

    Args:
        plans_or_model: A plans file with a `dataset.json` next to it, or a model folder.
        configuration: Name of a configuration; default: the one that a model folder was trained with, or in a plans
            file `3d_fullres`, or else the first that needs no other.
        reduction: Factor by which the student's channels are reduced, r of the paper.
        features: Channels of each student stage, instead of `reduction`.

    Returns:
        Rows `network` and `student`; columns `features`, `patch`, `parameters`, `flops_patch`, `patches_case` and
        `flops_case` (the data set's median image under nnU-Net's sliding window with half-overlapping patches,
        without mirroring). FLOPs are those of convolutions, two per multiply-add.

    Raises:
        UserError: A file is missing or not a plans file, or has no such configuration.
    """
    plans, dataset_json, name = _read(plans_or_model, configuration)
    student = list(features) if features else reduced_features(features_per_stage(plans, name), reduction)
    reduced = derive_plans(plans, name, features=student, name="student")
    return pd.DataFrame(
        [_costs(plans, name, dataset_json), _costs(reduced, name, dataset_json)], index=["network", "student"]
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
