"""Whether a model and preprocessed data fit together: channels, labels, spacing, normalisation and axes."""

from __future__ import annotations

import json
import logging
from math import nan
from pathlib import Path
from typing import Any

import numpy as np

from ...dataset_json import channel_names, check_dataset_json
from ...errors import UserError
from ...files import read_json
from ..configuration import check_plans
from ..plans import intensity_statistics, resolved_configuration
from ..run_setup import KEY
from ..workspace import dataset_number
from .model_folder import ModelFolder

logger = logging.getLogger(__name__)

_CT = "CTNormalization"
_OF_CT = ("mean", "std", "percentile_00_5", "percentile_99_5")
"""What nnU-Net's normalisation of CT takes from the plans; its others look at nothing but the image."""


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
    check_dataset_json(data, source=str(folder / "dataset.json"))
    taught, given = channel_names(model.dataset_json), channel_names(data)
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
            f"-d {dataset_number(folder.name)} -plans_name {model.plans['plans_name']} -c {configuration}`."
        )
    made_with = _preprocessing_of_data(folder, identifier)
    if made_with is None:
        logger.warning(
            "%s does not hold the plans with which its data were preprocessed; it is assumed that they fit the %s.",
            folder,
            role,
        )
        return
    for what, theirs in _preprocessing(model.plans, configuration).items():
        if not _equal(theirs, ours := made_with[what]):
            raise UserError(
                f"the {role} was trained on data with {what} {theirs}, but those in "
                f"{folder / wanted['data_identifier']} have {ours}.\n"
                f"       Preprocess them again with the {role}'s plans, or use another {role}."
            )


def _preprocessing(plans: dict[str, Any], configuration: str) -> dict[str, list[Any]]:
    """How a configuration's data are preprocessed, by what messages call it."""
    resolved = resolved_configuration(plans, configuration)
    schemes, statistics = resolved["normalization_schemes"], intensity_statistics(plans)
    of_ct = [statistics.get(str(channel), {}) for channel, scheme in enumerate(schemes) if scheme == _CT]
    return {
        "spacing in mm": resolved["spacing"],
        "normalisation": schemes,
        "normalisation within the mask of what is not zero, per channel,": resolved["use_mask_for_norm"],
        f"CT intensities ({', '.join(_OF_CT)} per channel)": [of.get(key, nan) for of in of_ct for key in _OF_CT],
        "order of the axes": plans["transpose_forward"],
    }


def _preprocessing_of_data(folder: Path, identifier: str) -> dict[str, list[Any]] | None:
    """How the data of this name were preprocessed, according to the plans next to them.

    A configuration that names its data itself comes before those that inherit the name.
    """
    found: list[tuple[bool, dict[str, list[Any]]]] = []
    for file in sorted(folder.glob("*.json")):
        if json.dumps(identifier) not in file.read_text(encoding="utf-8", errors="replace"):
            continue  # other plans, or another file, such as that of the folds
        plans = read_json(file)
        if "configurations" not in plans or KEY in plans:
            continue
        check_plans(plans, source=str(file))
        for name, own in plans["configurations"].items():
            if resolved_configuration(plans, name)["data_identifier"] == identifier:
                found.append(("data_identifier" not in own, _preprocessing(plans, name)))
    return min(found, key=lambda each: each[0])[1] if found else None


def _equal(a: Any, b: Any) -> bool:
    if len(a) == len(b) and all(isinstance(value, (int, float)) for value in [*a, *b]):
        return bool(np.allclose(a, b, rtol=1e-3))
    return list(a) == list(b)
