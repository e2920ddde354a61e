"""From a teacher's folder to a student's run: checks that they fit, and writes the student's plans."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ...errors import UserError
from ...files import read_json
from ...methods import build_method, option_names
from ...recipes import Recipe
from ..models.checkpoints import read_checkpoint
from ..models.model_folder import ModelFolder
from ..plans import features_per_stage, has_regions, reduced_features, resolved_configuration, with_features
from ..run_setup import Distillation, RunSetup, Teacher
from ..workspace import dataset_folder, preprocessed_folder
from .run import Run

logger = logging.getLogger(__name__)


def prepare_student(
    teacher_folder: Path,
    *,
    fold: str,
    recipe: Recipe,
    reduction: int = 4,
    features: Sequence[int] | None = None,
    batch_size: int | None = None,
    teacher_fold: str | None = None,
    teacher_checkpoint: str | None = None,
    dataset: str | None = None,
    name: str | None = None,
    resume: bool = False,
) -> Run:
    """Write the plans of a student's training, and return the run.

    Args:
        teacher_folder: A stock nnU-Net model folder.
        fold: Fold whose training cases the student sees: `0` to `4`, or `all`.
        recipe: How to train, and with which method.
        reduction: r of the paper: the teacher's channels are divided by it.
        features: Channels of each student stage, instead of `reduction`.
        batch_size: Patches a batch; default: the teacher's.
        teacher_fold: Fold of the teacher's checkpoint; default: `fold`.
        teacher_checkpoint: File name of the teacher's checkpoint; default: the recipe's choice.
        dataset: Name or number of the data set to train on; default: the teacher's.
        name: Plans name of the run; default: made of the teacher's plans name, method and reduction.
        resume: Allow a run that was begun before.

    Raises:
        UserError: Teacher, data set and options do not fit together; one sentence says what and why.
    """
    teacher = ModelFolder.read(teacher_folder.resolve())
    checkpoint_file = teacher.checkpoint_file(
        teacher_fold or fold, teacher_checkpoint, prefer=recipe.teacher_checkpoint
    )
    checkpoint = read_checkpoint(checkpoint_file)
    configuration = teacher.configuration(checkpoint)
    folder = dataset_folder(preprocessed_folder(), dataset or teacher.plans["dataset_name"])
    refuse_other_data(teacher, configuration, folder)
    _warn_of_leak(teacher_fold or fold, fold)

    teacher_features = features_per_stage(teacher.plans, configuration)
    student_features = list(features) if features else reduced_features(teacher_features, reduction)
    options = _with_regions(recipe, has_regions(teacher.plans, teacher.dataset_json))
    build_method(recipe.method, student_channels=student_features, teacher_channels=teacher_features, **options)

    suffix = f"f{'-'.join(map(str, features))}" if features else f"r{reduction}"
    plans_name = name or f"{teacher.plans['plans_name'].removesuffix('_teacher')}_{recipe.method}_{suffix}"
    run = Run(folder.name, configuration, fold, "nnUNetTrainerDistill", plans_name)
    plans = with_features(
        {**teacher.plans, "dataset_name": folder.name},
        configuration,
        features=student_features,
        batch_size=batch_size,
        name=plans_name,
    )
    setup = RunSetup(
        recipe=recipe,
        distillation=Distillation(
            method=recipe.method,
            options=options,
            student_channels=student_features,
            teacher=Teacher(
                folder=str(teacher.path),
                fold=teacher_fold or fold,
                checkpoint=checkpoint_file.name,
                channels=teacher_features,
            ),
        ),
    )
    run.store_plans(setup.into(plans), resume=resume)
    return run


def _with_regions(recipe: Recipe, regions: bool) -> dict[str, Any]:
    """The method's options; where the networks predict regions, the method or its parts are told so if they ask."""
    asked = [option for option in sorted(option_names(recipe.method)) if option.split(".")[-1] == "regions"]
    return {**dict.fromkeys(asked if regions else [], True), **recipe.method_options}


def refuse_other_data(
    model: ModelFolder, configuration: str, folder: Path, *, identifier: str | None = None, role: str = "teacher"
) -> None:
    """Compare a model with the preprocessed data it will see, value by value.

    Args:
        model: Teacher or student.
        configuration: Its configuration.
        folder: A preprocessed data set.
        identifier: Name of its folder of cases; default: as the model's plans say.
        role: What to call the model in a message.

    Raises:
        UserError: They do not fit together.
    """
    data = read_json(folder / "dataset.json")
    taught, given = _channels(model.dataset_json), _channels(data)
    if [c.casefold() for c in taught] != [c.casefold() for c in given]:
        raise UserError(
            f"the {role} was trained on {len(taught)} channels ({', '.join(taught)}), data set {folder.name} has "
            f"{len(given)} ({', '.join(given)}).\n"
            f"       Use a {role} of {folder.name}, or check --dataset-id."
        )
    if model.dataset_json["labels"] != data["labels"]:
        raise UserError(
            f"the {role} knows the labels {model.dataset_json['labels']}, data set {folder.name} has "
            f"{data['labels']}.\n       Use a {role} of {folder.name}, or check --dataset-id."
        )
    wanted = resolved_configuration(model.plans, configuration)
    identifier = identifier or wanted["data_identifier"]
    if not (folder / identifier).is_dir():
        raise UserError(
            f"{folder} holds no data preprocessed as {identifier}, which the {role}'s plans name. "
            f"Copy the {role}'s plans.json there as {model.plans['plans_name']}.json and run `nnUNetv2_preprocess "
            f"-d {int(folder.name[7:10])} -plans_name {model.plans['plans_name']} -c {configuration}`."
        )
    made_with = _plans_of_data(folder, identifier)
    if made_with is None:
        logger.warning(
            "%s holds no plans that say how its data were preprocessed; taking it on trust that they fit the %s.",
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


def _warn_of_leak(teacher_fold: str, fold: str) -> None:
    if teacher_fold == fold and fold != "all":
        return
    seen = "all cases" if teacher_fold == "all" else f"the training cases of fold {teacher_fold}"
    if fold == "all":
        logger.warning("the student is trained on all cases, so its validation figures say nothing about new cases.")
    else:
        logger.warning(
            "the teacher was trained on %s, among them validation cases of fold %s: the student's validation "
            "figures will be too good. Judge it on cases that neither has seen.",
            seen,
            fold,
        )
