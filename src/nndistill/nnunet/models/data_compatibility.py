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
    made_with = _plans_of_data(folder, identifier)
    if not made_with:
        logger.warning(
            "%s does not hold the plans with which its data were preprocessed; it is assumed that they fit the %s.",
            folder,
            role,
        )
        return
    taught_on = _preprocessing(model.plans, configuration)
    differences = [(file, _first_difference(taught_on, theirs)) for file, theirs in made_with]
    if all(what for _, what in differences):
        file, what = differences[0]
        raise UserError(
            f"the {role} was trained on data with {what} {_shown(taught_on[what])}, but those in "
            f"{folder / identifier} have {_shown(made_with[0][1][what])}, according to {file.name}.\n"
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


def _plans_of_data(folder: Path, identifier: str) -> list[tuple[Path, dict[str, list[Any]]]]:
    """The plans with which data of this name may have been preprocessed, and how: of several, one has made them.

    Configurations that name their data themselves come before those that inherit the name, which count if there are no
    others.
    """
    own: list[tuple[Path, dict[str, list[Any]]]] = []
    inherited: list[tuple[Path, dict[str, list[Any]]]] = []
    for file in sorted(folder.glob("*.json")):
        if json.dumps(identifier) not in file.read_text(encoding="utf-8", errors="replace"):
            continue  # other plans, or another file, such as that of the folds
        plans = read_json(file)
        if "configurations" not in plans or KEY in plans:
            continue
        check_plans(plans, source=str(file))
        for name, configuration in plans["configurations"].items():
            if resolved_configuration(plans, name)["data_identifier"] == identifier:
                found = own if "data_identifier" in configuration else inherited
                found.append((file, _preprocessing(plans, name)))
    return own or inherited


def _first_difference(taught_on: dict[str, list[Any]], made_with: dict[str, list[Any]]) -> str:
    """What differs, or nothing."""
    return next((what for what, values in taught_on.items() if not _equal(values, made_with[what])), "")


def _equal(a: list[Any], b: list[Any]) -> bool:
    if len(a) == len(b) and all(isinstance(value, (int, float)) for value in [*a, *b]):
        return bool(np.allclose(a, b, rtol=1e-3))
    return list(a) == list(b)


def _shown(values: list[Any]) -> list[Any]:
    return [float(f"{value:.4g}") if isinstance(value, float) else value for value in values]
