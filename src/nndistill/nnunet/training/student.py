"""From a teacher's folder to a student's run: the checks that they fit, and the student's plans."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import torch

from ...errors import UnknownName
from ...files import read_json
from ...methods import build_method, option_names
from ...recipes import Recipe, as_recipe, weighting_of
from ...teacher_engines.choice import WANTED, Wanted
from ..data.preprocessed_case import split_of_fold
from ..models.checkpoints import read_checkpoint
from ..models.data_compatibility import refuse_incompatible_data
from ..models.model_folder import ModelFolder
from ..models.stages import refuse_unlike_stages
from ..plans import (
    build_network,
    derive_plans,
    features_per_stage,
    has_regions,
    reduced_features,
    resolved_configuration,
)
from ..run_setup import Distillation, RunSetup
from ..workspace import dataset_folder, preprocessed_folder
from .chosen_teachers import (
    OUT_OF_FOLD,
    choose_teachers,
    described_cost,
    refuse_unlike_teachers,
    setup_of,
    teaching_folds,
    way_to_teach,
)
from .initialization import refuse_unlike_networks
from .run import Run
from .run_name import default_name, short_name
from .same_setup import differences

logger = logging.getLogger(__name__)


def prepare_student(
    teacher_folder: Path | str,
    *,
    fold: str,
    recipe: Recipe | str | Path,
    reduction: int = 4,
    features: Sequence[int] | None = None,
    batch_size: int | None = None,
    teacher_fold: str | Sequence[str] | None = None,
    also_teachers: Sequence[Path | str] = (),
    teachers: Literal["mean", "mean-logits", "rotate"] | None = None,
    teacher_checkpoint: str | None = None,
    dataset: str | None = None,
    name: str | None = None,
    init: Literal["random", "teacher"] = "random",
    teacher_engine: Wanted = "auto",
    resume: bool = False,
) -> Run:
    """Write the plans of a student's training, and return the run.

    Args:
        teacher_folder: A stock nnU-Net model folder.
        fold: Fold whose training cases the student sees: `0` to `4`, or `all`.
        recipe: How to train, and with which method; a name or a YAML file is loaded.
        reduction: The paper's r, by which the teacher's channels are divided.
        features: Channels of each student stage, instead of `reduction`.
        batch_size: Patches per batch; default: the teacher's.
        teacher_fold: Fold of the teacher's checkpoint, or several that teach together; `out-of-fold`, if each case is
            to be taught by the fold that has not seen it. Default: `fold`.
        also_teachers: Further model folders of the same data set and configuration, whose same folds teach too.
        teachers: How several teach together: methods that read logits alone match the `mean` of their probabilities or,
            with `mean-logits`, that of their logits, and others the mean of the losses; `rotate` takes one teacher per
            batch in turn. Default: `mean`.
        teacher_checkpoint: File name of the teacher's checkpoint; default: the recipe's choice.
        dataset: Name or number of the data set to train on; default: the teacher's.
        name: Plans name of the run; default: the teacher's plans name, the method, the reduction, and whatever is not
            the default (see `nndistill.nnunet.training.run_name.default_name`).
        init: What the student starts from: random weights, or the most important channels of the teacher (see
            `nndistill.nnunet.training.initialization.initialize_from_teacher`).
        teacher_engine: What computes the teacher on a processor: `torch`, `openvino`, or `auto` for the fastest that
            gives the same features (see `nndistill.teacher_engines.choice.ChosenEngine`).
        resume: Accept a run that was begun before.

    Raises:
        UserError: Teacher, data set and options do not fit together; the message says which and why.

    Example:
        >>> student = prepare_student(teacher_folder, fold="0", recipe="quick", name="example")
        >>> student.model_folder.name
        'nnUNetTrainerDistill__example__3d_fullres'
    """
    if init not in ("random", "teacher"):
        raise UnknownName("start", init, ("random", "teacher"), option="init")
    if teacher_engine not in WANTED:
        raise UnknownName("teacher engine", teacher_engine, WANTED, option="teacher_engine")
    recipe = as_recipe(recipe)
    models = [ModelFolder.read(Path(each).resolve()) for each in (teacher_folder, *also_teachers)]
    teacher = models[0]
    folder = dataset_folder(preprocessed_folder(), dataset or teacher.plans["dataset_name"])
    folds = teaching_folds(teacher_fold, models, folder, fold=fold)
    taught_by = choose_teachers(
        models,
        folds,
        checkpoint=teacher_checkpoint,
        prefer=recipe.teacher_checkpoint,
        option="teacher_fold" if teacher_fold else "fold",
    )
    together = way_to_teach(teachers, teacher_fold, taught_by)
    checkpoint = read_checkpoint(taught_by[0].checkpoint_file)
    configuration = teacher.configuration(checkpoint)
    refuse_unlike_teachers(taught_by, configuration)
    refuse_incompatible_data(teacher, configuration, folder)
    split_of_fold(folder, resolved_configuration(teacher.plans, configuration)["data_identifier"], fold)

    teacher_features = features_per_stage(teacher.plans, configuration)
    student_features = list(features) if features else reduced_features(teacher_features, reduction)
    options = _with_regions(recipe, has_regions(teacher.plans, teacher.dataset_json))
    method, *_ = [
        build_method(
            recipe.method,
            student_channels=student_features,
            teacher_channels=features_per_stage(model.plans, configuration),
            **options,
        )
        for model in models
    ]
    weighting = weighting_of(recipe, method)
    if weighting.origin == "source" and not weighting.is_nothing:
        logger.info("%s.", weighting.described(recipe.method))

    plans_name, size = teacher.plans["plans_name"], f"f{'-'.join(map(str, features))}" if features else f"r{reduction}"
    default = default_name(
        plans_name,
        recipe,
        size=size,
        init=init,
        batch_size=batch_size,
        teacher_checkpoint=teacher_checkpoint,
        together=together if len(taught_by) > 1 or together == OUT_OF_FOLD else None,
    )
    run = Run(folder.name, configuration, fold, "nnUNetTrainerDistill", name or default)
    plans = derive_plans(
        {**teacher.plans, "dataset_name": folder.name},
        configuration,
        features=student_features,
        batch_size=batch_size,
        name=run.plans_name,
    )
    compared = taught_by if method.needs else taught_by[:1] if init == "teacher" else []
    for each in compared:
        refuse_unlike_stages(each.model, each.checkpoint_file, plans, configuration)
    if init == "teacher":
        _refuse_unlike_networks(teacher, checkpoint["trainer_name"], plans, configuration)
    setup = RunSetup(
        recipe=recipe,
        distillation=Distillation(
            method=recipe.method,
            options=options,
            student_channels=student_features,
            teacher=setup_of(taught_by, configuration, fold=fold, together=together),
            init=init,
            weighting=weighting,
            teacher_engine=teacher_engine,
        ),
    )
    plans = setup.into(plans)
    if resume and name is None:
        run = _or_its_older_name(run, short_name(plans_name, recipe.method, size=size, init=init), plans)
    run.store_plans({**plans, "plans_name": run.plans_name}, resume=resume)
    if len(taught_by) > 1 and method.needs:
        logger.info("%s", described_cost(taught_by, configuration, together))
    return run


def _or_its_older_name(run: Run, older_name: str, plans: dict[str, Any]) -> Run:
    """The same run as version 0.2 named it, if that began this very training."""
    older = replace(run, plans_name=older_name)
    if run.plans_file.is_file() or not (older.begun and older.plans_file.is_file()):
        return run
    renamed = {**plans, "plans_name": older_name}
    same = not differences(read_json(older.plans_file), renamed, fold=run.fold, begun=True)
    return older if same else run


def _with_regions(recipe: Recipe, regions: bool) -> dict[str, Any]:
    """The method's options; if the networks predict regions, `regions` is set wherever the method or a part has it."""
    asked = [option for option in sorted(option_names(recipe.method)) if option.split(".")[-1] == "regions"]
    return {**dict.fromkeys(asked if regions else [], True), **recipe.method_options}


def _refuse_unlike_networks(teacher: ModelFolder, trainer: str, plans: dict[str, Any], configuration: str) -> None:
    with torch.device("meta"):  # only their layers are compared
        refuse_unlike_networks(
            build_network(plans, configuration, teacher.dataset_json),
            build_network(teacher.plans, configuration, teacher.dataset_json, trainer=trainer),
        )
