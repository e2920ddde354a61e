"""The networks that teach a student: which folds of which models, and whether they fit together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from typing import Literal

import torch

from ...dataset_json import channel_names
from ...errors import UnknownName, UserError
from ...recipes.recipe import Checkpoint
from ..data.out_of_fold import out_of_fold
from ..data.preprocessed_case import split_of_fold
from ..models.checkpoints import read_checkpoint
from ..models.model_folder import ModelFolder
from ..models.validated_cases import validated_cases
from ..plans import build_network, derive_plans, features_per_stage, resolved_configuration
from ..run_setup import Teacher, TeacherModel, Together

OUT_OF_FOLD: Literal["out-of-fold"] = "out-of-fold"
TOGETHER = ("mean", "mean-logits", "rotate")
"""How several teachers can be asked to teach."""


@dataclass(frozen=True)
class ChosenTeacher:
    """A network that teaches: a fold of a model, and its checkpoint."""

    model: ModelFolder
    fold: str
    checkpoint_file: Path


def teaching_folds(
    teacher_fold: str | Sequence[str] | None,
    models: Sequence[ModelFolder],
    data: Path,
    *,
    fold: str,
) -> list[str]:
    """Return the folds whose networks teach; out-of-fold, those that hold out a training case of the student.

    Args:
        teacher_fold: One fold or several, or `out-of-fold`; default: the student's own.
        models: The teacher, and others that teach too.
        data: The preprocessed data set of the student.
        fold: Of the student.

    Raises:
        UserError: A fold is named twice or next to `out-of-fold`, or the cases cannot be taught out-of-fold.
    """
    named = _named(teacher_fold or fold)
    if OUT_OF_FOLD not in named:
        if len(set(named)) < len(named):
            raise UserError(f"name each fold of the teacher once, not {', '.join(named)}.", option="teacher_fold")
        return named
    if len(named) > 1:
        raise UserError(
            f"{OUT_OF_FOLD} chooses the folds by itself, so no fold can be named next to it.", option="teacher_fold"
        )
    return _folds_that_hold_out(models, data, fold=fold)


def way_to_teach(
    teachers: Together | None, teacher_fold: str | Sequence[str] | None, chosen: Sequence[ChosenTeacher]
) -> Together:
    """Return how the chosen networks teach together.

    Args:
        teachers: What was asked for; `None` for the default.
        teacher_fold: As in `teaching_folds`.
        chosen: The networks.

    Raises:
        UnknownName: There is no such way.
        UserError: There is one teacher, or out-of-fold says already who teaches what.
    """
    if teachers is not None and teachers not in TOGETHER:
        raise UnknownName("way for teachers to teach together", teachers, TOGETHER, option="teachers")
    if OUT_OF_FOLD in _named(teacher_fold or ""):
        if teachers is not None:
            raise UserError(
                f"{OUT_OF_FOLD} gives each case the teacher that has not seen it, so {teachers} would have no effect; "
                "leave one of them out.",
                option=("teachers", "teacher_fold"),
            )
        return OUT_OF_FOLD
    if teachers is not None and len(chosen) == 1:
        raise UserError(
            f"there is one teacher, so {teachers} would have no effect; name several folds of the teacher.",
            option=("teachers", "teacher_fold"),
        )
    return teachers or "mean"


def _named(folds: str | Sequence[str]) -> list[str]:
    return [folds] if isinstance(folds, str) else list(folds)


def _folds_that_hold_out(models: Sequence[ModelFolder], data: Path, *, fold: str) -> list[str]:
    model = models[0]
    if data.name != model.plans["dataset_name"]:
        raise UserError(
            f"{OUT_OF_FOLD} goes by the folds of the teacher's own data set, {model.plans['dataset_name']}; for a "
            f"student of {data.name}, name the folds of the teacher.",
            option=("teacher_fold", "dataset_id"),
        )
    identifier = resolved_configuration(model.plans, model.configuration())["data_identifier"]
    cases = split_of_fold(data, identifier, fold).train
    held_out_by = out_of_fold(data, cases)
    folds = sorted(set(held_out_by.values()), key=int)
    if missing := [each for each in folds if each not in model.folds]:
        untaught = [case for case in cases if held_out_by[case] in missing]
        raise UserError(
            f"{model.path} has no checkpoint of fold {', '.join(missing)}, which alone can teach {len(untaught)} of "
            f"the {len(cases)} training cases {OUT_OF_FOLD} ({untaught[0]} among them); train the teacher in these "
            "folds, or name the folds that there are.",
            option="teacher_fold",
        )
    for each in folds:
        for teacher in models:
            _refuse_other_split(teacher, each, set(split_of_fold(data, identifier, each).validation))
    return folds


def _refuse_other_split(model: ModelFolder, fold: str, expected: set[str]) -> None:
    """Compare with nnU-Net's own record: the stored folds may not be those that the teacher was trained with."""
    validated = validated_cases(model, fold)
    if validated is not None and validated != expected:
        other = sorted(validated ^ expected)[0]
        raise UserError(
            f"fold {fold} of {model.path} was validated on other cases than the data set's splits_final.json says "
            f"({other} differs), so it is not known which cases its teacher has seen; put the file there with which "
            "the teacher was trained.",
            option="teacher_fold",
        )


def choose_teachers(
    models: Sequence[ModelFolder],
    folds: Sequence[str],
    *,
    checkpoint: str | None,
    prefer: Checkpoint | None,
    option: str,
) -> list[ChosenTeacher]:
    """Find the checkpoints of these folds of each model; all folds of a model have checkpoints of the same name.

    Args:
        models: Model folders.
        folds: `0` to `4`, or `all`.
        checkpoint: File name of the checkpoints; if it is given, no other is taken.
        prefer: As in `ModelFolder.checkpoint_file`.
        option: The option that names the folds.

    Raises:
        UserError: A fold has no such checkpoint, or a model is named twice.
    """
    paths = [model.path for model in models]
    if twice := [path for path in paths if paths.count(path) > 1]:
        raise UserError(f"{twice[0]} is named twice; name each model once.", option="also_teacher")
    chosen = []
    for model in models:
        name = checkpoint
        for fold in folds:
            try:
                file = model.checkpoint_file(fold, name, prefer=prefer)
            except UserError as error:
                raise UserError(str(error), option=option) from error
            name = file.name
            chosen.append(ChosenTeacher(model, fold, file))
    return chosen


def refuse_unlike_teachers(teachers: Sequence[ChosenTeacher], configuration: str) -> None:
    """Check that all teachers were trained on the same task in the same form as the first.

    Args:
        teachers: The first one's model is what the student is derived from.
        configuration: Of the first.

    Raises:
        UserError: One of them differs in its data set, channels, labels, configuration, spacing, normalisation or axes,
            or cannot take patches of this size; the message gives both values.
    """
    first = teachers[0].model
    ours = resolved_configuration(first.plans, configuration)
    for model in {teacher.model.path: teacher.model for teacher in teachers}.values():
        _refuse_unlike("data sets", first, first.plans["dataset_name"], model, model.plans["dataset_name"])
        _refuse_unlike("channels", first, _channels(first), model, _channels(model))
        for what, key in (("labels", "labels"), ("orders of the regions", "regions_class_order")):
            _refuse_unlike(what, first, first.dataset_json.get(key), model, model.dataset_json.get(key))
    for teacher in teachers[1:]:
        trained = teacher.model.configuration(read_checkpoint(teacher.checkpoint_file))
        _refuse_unlike("configurations", first, configuration, teacher.model, trained)
        theirs = resolved_configuration(teacher.model.plans, configuration)
        spacings = ([round(millimetres, 4) for millimetres in each["spacing"]] for each in (ours, theirs))
        _refuse_unlike("spacings", first, next(spacings), teacher.model, next(spacings))
        schemes = (list(each["normalization_schemes"]) for each in (ours, theirs))
        _refuse_unlike("normalisations", first, next(schemes), teacher.model, next(schemes))
        axes = (list(model.plans["transpose_forward"]) for model in (first, teacher.model))
        _refuse_unlike("orders of the axes", first, next(axes), teacher.model, next(axes))
        derive_plans(teacher.model.plans, configuration, patch_size=ours["patch_size"], name="taught together")


def _channels(model: ModelFolder) -> list[str]:
    return [name.casefold() for name in channel_names(model.dataset_json)]


def _refuse_unlike(what: str, first: ModelFolder, ours: object, model: ModelFolder, theirs: object) -> None:
    if ours != theirs:
        raise UserError(
            f"the teachers {first.path} and {model.path} were trained with different {what} ({ours} and {theirs}); "
            "teachers of one student have to agree in them.",
            option=("also_teacher", "teacher_fold"),
        )


def setup_of(teachers: Sequence[ChosenTeacher], configuration: str, *, fold: str, together: Together) -> Teacher:
    """Return what a student's setup says of its teachers.

    Args:
        teachers: All networks that teach, model by model.
        configuration: Of all of them.
        fold: The student's fold.
        together: How they teach.
    """
    models = {
        str(each.model.path): TeacherModel(
            folder=str(each.model.path),
            checkpoint=each.checkpoint_file.name,
            channels=features_per_stage(each.model.plans, configuration),
        )
        for each in teachers
    }
    first, *others = models.values()
    folds = list(dict.fromkeys(each.fold for each in teachers))
    named = folds if len(folds) > 1 or together == OUT_OF_FOLD else folds[0]
    return Teacher(**first.model_dump(), folds={fold: named}, also=others, together=together)


def described_cost(teachers: Sequence[ChosenTeacher], configuration: str, together: Together) -> str:
    """Say what several teachers cost, in one sentence.

    Args:
        teachers: All networks that teach.
        configuration: Of all of them.
        together: How they teach.
    """
    parameters = [_parameters(teacher.model, configuration) for teacher in teachers]
    turns = {"rotate": "one of them computes", OUT_OF_FOLD: "one of each model computes"}
    how = turns.get(together, "all of them compute")
    return (
        f"{len(teachers)} teachers take {ceil(4 * sum(parameters) / 2**20)} MiB for their weights "
        f"({sum(parameters) / 1e6:.1f} M parameters in float32); {how} each patch of a batch."
    )


def _parameters(model: ModelFolder, configuration: str) -> int:
    with torch.device("meta"):
        network = build_network(model.plans, configuration, model.dataset_json)
    return sum(parameter.numel() for parameter in network.parameters())
