"""Whether a study's teachers can be the teachers of its students: refused before the first training if not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from ..errors import UserError
from ..files import read_json
from ..nnunet.models.model_folder import ModelFolder
from ..nnunet.plans import build_network, derive_plans, distillable_configuration
from ..nnunet.student_shape import StudentShape
from ..nnunet.training.chosen_teachers import OUT_OF_FOLD, teaching_folds
from ..nnunet.training.initialization import refuse_unlike_networks
from .definition import Study, StudyTeacher


def refuse_impossible_students(study: Study, *, folder: Path, plans_file: Path) -> None:
    """Refuse a study with a student that cannot be made of, or cannot start from, one of the teachers.

    Args:
        study: The study.
        folder: Folder of its file.
        plans_file: The preprocessed data set's plans, of which a teacher that the study trains is derived.

    Raises:
        UserError: There is such a student, or a teacher cannot be derived from the plans.
    """
    for teacher_name, teacher in study.teachers.items():
        try:
            plans, configuration, dataset_json = _network(teacher, folder, plans_file)
        except UserError as error:
            raise UserError(f"teacher {teacher_name}: {error}") from error
        for name, student in study.students.items():
            try:
                derived = StudentShape(**student.shape).derived_plans(plans, configuration, name="student")
            except UserError as error:
                raise UserError(f"student {name} of teacher {teacher_name}: {error}") from error
            method = _row_from_teacher(study, name, folder=folder)
            if method is None:
                continue
            with torch.device("meta"):  # only their layers are compared
                networks = [build_network(each, configuration, dataset_json) for each in (derived, plans)]
            try:
                refuse_unlike_networks(*networks)
            except UserError as error:
                raise UserError(f"method {method}, student {name} of teacher {teacher_name}: {error}") from error


def refuse_untaught_cases(study: Study, *, folder: Path, data: Path) -> None:
    """Refuse a study with a row that teaches out-of-fold and a training case that no fold of its teacher can teach so.

    Args:
        study: The study.
        folder: Folder of its file.
        data: The preprocessed data set.

    Raises:
        UserError: There is such a case.
    """
    for name in (name for name, row in study.methods.items() if row.teacher_fold == OUT_OF_FOLD):
        for teacher in study.teachers.values():
            assert teacher.folder is not None  # others are refused when the file is read
            for fold in study.folds:
                try:
                    teaching_folds(OUT_OF_FOLD, [ModelFolder.read(folder / teacher.folder)], data, fold=str(fold))
                except UserError as error:
                    raise UserError(f"method {name}: {error}") from error


def _network(teacher: StudyTeacher, folder: Path, plans_file: Path) -> tuple[dict[str, Any], str, dict[str, Any]]:
    """Plans, configuration and data set of a teacher."""
    if teacher.folder is not None:
        model = ModelFolder.read(folder / teacher.folder)
        return model.plans, model.configuration(), model.dataset_json
    planned = read_json(plans_file)
    configuration = distillable_configuration(planned, source=str(plans_file))
    plans = derive_plans(
        planned,
        configuration,
        features=teacher.features,
        patch_size=teacher.patch_size,
        batch_size=teacher.batch_size,
        name="teacher",
    )
    return plans, configuration, read_json(plans_file.parent / "dataset.json")


def _row_from_teacher(study: Study, student: str, *, folder: Path) -> str | None:
    """The first row in which a student starts from its teacher."""
    for row in study.methods:
        recipe = study.student_recipe(row, 0, folder=folder)
        if student in study.students_of(row) and study.students[student].start(recipe) == "teacher":
            return row
    return None
