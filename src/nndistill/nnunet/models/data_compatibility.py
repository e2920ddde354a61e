"""Whether a model and preprocessed data fit together: channels, labels, spacing, normalisation and axes."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np

from ...errors import UserError
from ...files import read_json
from ..plans import resolved_configuration
from .model_folder import ModelFolder

logger = logging.getLogger(__name__)


def refuse_incompatible_data(
    model: ModelFolder, configuration: str, folder: Path, *, identifier: str | None = None, role: str = "teacher"
) -> None:
    """Compare what a model was trained on with preprocessed data, value by value.

    Args:
        model: Teacher or student.
        configuration: Its configuration.
        folder: A preprocessed data set.
        identifier: Name of its folder of cases; default: as the model's plans say.
        role: What messages call the model.

    Raises:
        UserError: They do not fit together; the message gives both values.
    """
    data = read_json(folder / "dataset.json")
    taught, given = _channels(model.dataset_json), _channels(data)
    if [c.casefold() for c in taught] != [c.casefold() for c in given]:
        raise UserError(
            f"the {role} was trained on {len(taught)} channels ({', '.join(taught)}), but the data set {folder.name} "
            f"has {len(given)} ({', '.join(given)}).\n"
            f"       Use a {role} of {folder.name}, or another data set.",
            option="dataset_id",
        )
    if model.dataset_json["labels"] != data["labels"]:
        raise UserError(
            f"the {role} knows the labels {model.dataset_json['labels']}, but the data set {folder.name} has "
            f"{data['labels']}.\n       Use a {role} of {folder.name}, or another data set.",
            option="dataset_id",
        )
    wanted = resolved_configuration(model.plans, configuration)
    identifier = identifier or wanted["data_identifier"]
    if not (folder / identifier).is_dir():
        raise UserError(
            f"{folder} does not hold the data that the {role}'s plans name, preprocessed as {identifier}. "
            f"Copy the {role}'s plans.json there as {model.plans['plans_name']}.json and run `nnUNetv2_preprocess "
            f"-d {int(folder.name[7:10])} -plans_name {model.plans['plans_name']} -c {configuration}`."
        )
    made_with = _plans_of_data(folder, identifier)
    if made_with is None:
        logger.warning(
            "%s does not hold the plans with which its data were preprocessed; it is assumed that they fit the %s.",
            folder,
            role,
        )
        return
    made = resolved_configuration(made_with, configuration)
    for what, theirs, ours in (
        ("spacing in mm", wanted["spacing"], made["spacing"]),
        ("normalisation", wanted["normalization_schemes"], made["normalization_schemes"]),
        ("order of the axes", model.plans["transpose_forward"], made_with["transpose_forward"]),
    ):
        if not _equal(theirs, ours):
            raise UserError(
                f"the {role} was trained on data with {what} {theirs}, but those in "
                f"{folder / wanted['data_identifier']} have {ours}.\n"
                f"       Preprocess them again with the {role}'s plans, or use another {role}."
            )


def _plans_of_data(folder: Path, data_identifier: str) -> dict[str, Any] | None:
    for file in sorted(folder.glob("*.json")):
        plans = read_json(file)
        configurations = plans.get("configurations", {}) if isinstance(plans, dict) and "nndistill" not in plans else {}
        if any(c.get("data_identifier") == data_identifier for c in configurations.values()):
            return dict(plans)
    return None


def _equal(a: Any, b: Any) -> bool:
    if isinstance(a[0], (int, float)):
        return len(a) == len(b) and bool(np.allclose(a, b, rtol=1e-3))
    return list(a) == list(b)


def _channels(dataset_json: dict[str, Any]) -> list[str]:
    channels = dataset_json.get("channel_names") or dataset_json["modality"]
    return [channels[key] for key in sorted(channels, key=int)]
