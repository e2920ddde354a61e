"""From a teacher's folder to a student's run: the checks that they fit, and the student's plans."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, get_args

from ...errors import UnknownName, UserError
from ...files import read_json
from ...methods import option_names
from ...recipes import Init, Recipe, as_recipe, refuse_useless_images, weighting_of
from ...teacher_engines.choice import WANTED, Wanted
from ..architecture import Architecture
from ..models.model_folder import ModelFolder
from ..plans import features_per_stage, has_regions
from ..run_setup import Distillation, RunSetup
from ..student_shape import StudentShape
from ..workspace import dataset_folder, preprocessed_folder
from .chosen_teachers import described_cost, setup_of
from .run import Run
from .run_name import default_name, short_name
from .same_setup import differences
from .teaching import choose_teaching
from .unlabelled_images import preprocess_unlabelled

logger = logging.getLogger(__name__)

_EVEN = 0.5
"""Share of unlabelled patches if none is given: one for each labelled patch."""


def prepare_student(
    teacher_folder: Path | str,
    *,
    fold: str,
    recipe: Recipe | str | Path,
    reduction: int | None = None,
    features: Sequence[int] | None = None,
    stages: int | None = None,
    blocks: Sequence[int] | None = None,
    architecture: Architecture = "teacher",
    batch_size: int | None = None,
    teacher_fold: str | Sequence[str] | None = None,
    also_teachers: Sequence[Path | str] = (),
    teachers: Literal["mean", "mean-logits", "rotate"] | None = None,
    teacher_checkpoint: str | None = None,
    configuration: str | None = None,
    dataset: str | None = None,
    name: str | None = None,
    init: Init | None = None,
    teacher_engine: Wanted = "auto",
    unlabelled: Path | str | None = None,
    unlabelled_share: float | None = None,
    resume: bool = False,
    on_unlabelled: Callable[[int, int], None] = lambda done, total: None,
) -> Run:
    """Write the plans of a student's training, and return the run.

    Args:
        teacher_folder: A stock nnU-Net model folder.
        fold: Fold whose training cases the student sees: `0` to `4`, or `all`.
        recipe: How to train, and with which method; a name or a YAML file is loaded.
        reduction: The paper's r, by which the teacher's channels are divided. Default: 4, without `features`.
        features: Channels of each student stage, instead of `reduction`.
        stages: Number of student stages; the teacher's deepest ones are left out. Default: all.
        blocks: Residual blocks of each encoder stage, or convolutions if the student is plain; or one number for all
            stages. Default: the teacher's, or two convolutions if only the student is plain.
        architecture: `teacher`, or `plain` for a `PlainConvUNet`, which has no residual connections. Whatever the
            shape, methods compare the stages of equal resolution.
        batch_size: Patches per batch; default: the teacher's.
        teacher_fold: Fold of the teacher's checkpoint, or several that teach together; `out-of-fold`, if each case is
            to be taught by the fold that has not seen it. Default: `fold`.
        also_teachers: Further model folders of the same data set and configuration, whose same folds teach too.
        teachers: How several teach together: methods that read logits alone match the `mean` of their probabilities or,
            with `mean-logits`, that of their logits, and others the mean of the losses; `rotate` takes one teacher per
            batch in turn. Default: `mean`.
        teacher_checkpoint: File name of the teacher's checkpoint; default: the recipe's choice.
        configuration: Name of the configuration that the teacher has to be of; default: whatever it was trained with.
        dataset: Name or number of the data set to train on; default: the teacher's.
        name: Plans name of the run; default: the teacher's plans name, the method, the reduction, and whatever is not
            the default (see `nndistill.nnunet.training.run_name.default_name`).
        init: What the student starts from: `random` weights, or the most important channels of the `teacher` (see
            `nndistill.nnunet.training.initialization.initialize_from_teacher`). Default: what the recipe says.
        teacher_engine: What computes the teacher on a processor: `torch`, `openvino`, or `auto` for the fastest that
            gives the same features (see `nndistill.teacher_engines.choice.ChosenEngine`).
        unlabelled: A folder of images without labels, in nnU-Net's layout, which join the training with nothing but
            the distillation loss (see `nndistill.nnunet.training.unlabelled_images.preprocess_unlabelled`).
        unlabelled_share: Share of their patches among all patches, at least 0 and below 1. Default: 0.5.
        resume: Accept a run that was begun before.
        on_unlabelled: Called with the number of these images that are preprocessed and of all.

    Raises:
        UserError: Teacher, data set and options do not fit together; the message says which and why.

    Example:
        >>> student = prepare_student(teacher_folder, fold="0", recipe="quick", name="example")
        >>> student.model_folder.name
        'nnUNetTrainerDistill__example__3d_fullres'
    """
    _refuse_unknown(init, teacher_engine)
    share = _share_of_unlabelled(unlabelled, unlabelled_share)
    recipe = as_recipe(recipe).adjusted(init=init)
    models = [ModelFolder.read(Path(each).resolve()) for each in (teacher_folder, *also_teachers)]
    data = dataset_folder(preprocessed_folder(), dataset or models[0].plans["dataset_name"])
    teaching = choose_teaching(
        models,
        data,
        fold=fold,
        teacher_fold=teacher_fold,
        teachers=teachers,
        checkpoint=teacher_checkpoint,
        prefer=recipe.teacher_checkpoint,
        configuration=configuration,
    )
    shape = StudentShape(
        reduction=reduction, features=features, stages=stages, blocks=blocks, architecture=architecture
    )
    named = default_name(
        teaching.plans_name,
        recipe,
        size=shape.name,
        batch_size=batch_size,
        teacher_checkpoint=teacher_checkpoint,
        unlabelled_share=share,
        together=teaching.together if teaching.by_several else None,
    )
    run = Run(data.name, teaching.configuration, fold, "nnUNetTrainerDistill", name or named)
    plans = shape.derived_plans(
        {**teaching.model.plans, "dataset_name": data.name},
        teaching.configuration,
        batch_size=batch_size,
        name=run.plans_name,
    )
    options = _with_regions(recipe, has_regions(teaching.model.plans, teaching.model.dataset_json))
    method = teaching.method(recipe.method, plans, options)
    weighting = weighting_of(recipe, method)
    if weighting.origin == "source" and not weighting.is_nothing:
        logger.info("%s.", weighting.described(recipe.method))
    if share is not None:
        refuse_useless_images(method, recipe, weighting)
    teaching.refuse_unlike_student(plans, method=method, init=recipe.init)
    images = None
    if unlabelled is not None and share is not None:
        images = preprocess_unlabelled(
            Path(unlabelled),
            teaching.model,
            teaching.teachers[0].checkpoint_file,
            dataset=data,
            share=share,
            report=on_unlabelled,
        )
    setup = RunSetup(
        recipe=recipe,
        distillation=Distillation(
            method=recipe.method,
            options=options,
            student_channels=features_per_stage(plans, teaching.configuration),
            teacher=setup_of(teaching.teachers, teaching.configuration, fold=fold, together=teaching.together),
            stages=teaching.stages_of(plans),
            init=recipe.init,
            weighting=weighting,
            teacher_engine=teacher_engine,
            unlabelled=images,
        ),
    )
    plans = setup.into(plans)
    if resume and name is None:
        older = short_name(teaching.plans_name, recipe.method, size=shape.name, init=recipe.init)
        run = _or_its_older_name(run, older, plans)
    run.store_plans({**plans, "plans_name": run.plans_name}, resume=resume)
    if len(teaching.teachers) > 1 and method.needs:
        logger.info("%s", described_cost(teaching.teachers, teaching.configuration, teaching.together))
    return run


def _refuse_unknown(init: str | None, teacher_engine: str) -> None:
    if init is not None and init not in get_args(Init):
        raise UnknownName("start", init, get_args(Init), option="init")
    if teacher_engine not in WANTED:
        raise UnknownName("teacher engine", teacher_engine, WANTED, option="teacher_engine")


def _share_of_unlabelled(images: Path | str | None, share: float | None) -> float | None:
    """The share of unlabelled patches; `None` without unlabelled images."""
    if images is None:
        if share is not None:
            raise UserError(
                "a share of unlabelled patches has no effect without images: name their folder, or leave the share "
                "out.",
                option=("unlabelled", "unlabelled_share"),
            )
        return None
    share = _EVEN if share is None else share
    if not 0 <= share < 1:
        raise UserError(
            f"a share of unlabelled patches of {share:g} is not possible: it is at least 0 and below 1, and 0.5 is one "
            "unlabelled patch for each labelled one.",
            option="unlabelled_share",
        )
    return share


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
