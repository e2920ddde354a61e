"""The teaching of a student: its teachers, as far as they fit together and the student's data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from ...errors import UserError
from ...methods import Method, build_method
from ...recipes.recipe import Checkpoint
from ..data.preprocessed_case import split_of_fold
from ..models.checkpoints import read_checkpoint
from ..models.data_compatibility import refuse_incompatible_data
from ..models.model_folder import ModelFolder
from ..models.stages import refuse_unlike_stages
from ..plans import build_network, dimensions, features_per_stage, resolved_configuration, stage_factors
from ..run_setup import Together
from ..stage_pairs import stage_pairs
from .chosen_teachers import (
    OUT_OF_FOLD,
    ChosenTeacher,
    choose_teachers,
    refuse_unlike_teachers,
    teaching_folds,
    way_to_teach,
)
from .initialization import refuse_unlike_networks
from .run_name import with_configuration


@dataclass(frozen=True)
class Teaching:
    """Who teaches a student, in which configuration, and what of it the student can be compared with.

    Args:
        teachers: All networks that teach, model by model.
        together: How they teach.
        configuration: Of all of them.
        models: Their folders; the student is derived from the first.
    """

    teachers: list[ChosenTeacher]
    together: Together
    configuration: str
    models: list[ModelFolder]

    @property
    def model(self) -> ModelFolder:
        """The model from which the student is derived."""
        return self.models[0]

    @property
    def by_several(self) -> bool:
        """Whether more than one network may teach."""
        return len(self.teachers) > 1 or self.together == OUT_OF_FOLD

    @property
    def plans_name(self) -> str:
        """The first part of a student's name."""
        name: str = self.model.plans["plans_name"]
        if dimensions(self.model.plans, self.configuration) == 3:  # which has had the plain name since version 0.1
            return name
        return with_configuration(name, self.configuration)

    def stages_of(self, plans: dict[str, Any]) -> list[tuple[int, int]]:
        """The stages that the student of these plans has in common with its teachers."""
        return stage_pairs(*(stage_factors(each, self.configuration) for each in (plans, self.model.plans)))

    def method(self, name: str, plans: dict[str, Any], options: dict[str, Any]) -> Method:
        """Build the method for the first teacher; that it can be built for the others is checked."""
        stages, ours = self.stages_of(plans), features_per_stage(plans, self.configuration)
        method, *_ = [
            build_method(
                name,
                student_channels=[ours[stage] for stage, _ in stages],
                teacher_channels=[features_per_stage(model.plans, self.configuration)[stage] for _, stage in stages],
                ndim=dimensions(self.model.plans, self.configuration),
                **options,
            )
            for model in self.models
        ]
        return method

    def refuse_unlike_student(self, plans: dict[str, Any], *, method: Method, init: str) -> None:
        """Refuse a student that cannot be compared with its teachers, or cannot start from the first of them."""
        compared = self.teachers if method.needs else self.teachers[:1] if init == "teacher" else []
        for each in compared:
            refuse_unlike_stages(each.model, each.checkpoint_file, plans, self.configuration)
        if init == "teacher":
            trainer = read_checkpoint(self.teachers[0].checkpoint_file)["trainer_name"]
            _refuse_unlike_networks(self.model, trainer, plans, self.configuration)


def choose_teaching(
    models: list[ModelFolder],
    data: Path,
    *,
    fold: str,
    teacher_fold: str | Sequence[str] | None,
    teachers: Together | None,
    checkpoint: str | None,
    prefer: Checkpoint | None,
    configuration: str | None,
) -> Teaching:
    """Choose the networks that teach, and check that they fit together, the data and the student's fold.

    Args:
        models: Model folders; the student is derived from the first.
        data: The preprocessed data set of the student.
        fold: The student's.
        teacher_fold: As in `nndistill.prepare_student`, and so are the next two.
        teachers: How several teach together.
        checkpoint: File name of the teachers' checkpoints.
        prefer: Which checkpoint is taken if none is named.
        configuration: Name of the configuration that the teacher has to be of.

    Raises:
        UserError: They do not fit; the message says what and why.
    """
    model = models[0]
    chosen = choose_teachers(
        models,
        teaching_folds(teacher_fold, models, data, fold=fold),
        checkpoint=checkpoint,
        prefer=prefer,
        option="teacher_fold" if teacher_fold else "fold",
    )
    together = way_to_teach(teachers, teacher_fold, chosen)
    configuration = _configuration_of(model, read_checkpoint(chosen[0].checkpoint_file), wanted=configuration)
    refuse_unlike_teachers(chosen, configuration)
    identifier = resolved_configuration(model.plans, configuration)["data_identifier"]
    for each in models:
        role = "teacher" if each is model else f"teacher in {each.path}"
        refuse_incompatible_data(each, configuration, data, identifier=identifier, role=role)
    split_of_fold(data, identifier, fold)
    return Teaching(chosen, together, configuration, models)


def _configuration_of(teacher: ModelFolder, checkpoint: dict[str, Any], *, wanted: str | None) -> str:
    trained = teacher.configuration(checkpoint)
    if wanted not in (None, trained):
        raise UserError(
            f"the teacher in {teacher.path} was trained with the configuration {trained}, and its students are of that "
            f"too, not of {wanted}. Give a teacher that was trained with {wanted}.",
            option="configuration",
        )
    return trained


def _refuse_unlike_networks(teacher: ModelFolder, trainer: str, plans: dict[str, Any], configuration: str) -> None:
    with torch.device("meta"):  # only their layers are compared
        refuse_unlike_networks(
            build_network(plans, configuration, teacher.dataset_json),
            build_network(teacher.plans, configuration, teacher.dataset_json, trainer=trainer),
        )
