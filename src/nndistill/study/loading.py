"""Read a study's file, and check what goes together in it before anything is computed."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

from ..errors import UserError
from ..evaluation.patients import read_patients
from ..evaluation.protocols import protocol
from ..methods import build_method
from ..recipes import refuse_useless_images, weighting_of
from ..yaml_files import validated_yaml
from .definition import Study, StudyMethod, StudyTeacher, TestCases, slug, study_trains

_NAME = r"^[A-Za-z0-9][A-Za-z0-9 .,_+=-]*$"
T = TypeVar("T")
_STAGES = [8, 8]  # channels of two networks, to check the options of a method before the real ones are known


def load_study(file: Path) -> Study:
    """Read and check a study's file, before anything is computed.

    Raises:
        UserError: It is missing or not valid, or names something that does not exist or does not go together.
    """
    try:
        text = file.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise UserError(f"there is no study {file}; `nndistill study init` writes one.") from None
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"the study {file} cannot be read: {error}.") from error
    study = validated_yaml(text, Study, source=str(file))
    try:
        _check(study, file.parent)
    except UserError as error:
        raise UserError(f"{file}: {error}", option=error.option) from error
    return study


def _check(study: Study, folder: Path) -> None:
    if (study.dataset is None) == (study.phantom is None):
        raise UserError("a study has either a dataset or a phantom.")
    for kind, names in (("teacher", study.teachers), ("student", study.students), ("method", study.methods)):
        _check_names(kind, names)
    for numbers, what in ((study.seeds, "seed"), (study.folds, "fold")):
        if len(set(numbers)) < len(numbers) or min(numbers) < 0:
            raise UserError(f"every {what} has to be a number from 0 on, given once: {numbers}.")
    measured = protocol(study.protocol)
    if study.pilot and study.pilot.metric == "nsd" and not measured.distances:
        raise UserError(f"the pilot chooses by nsd, which the protocol {study.protocol} does not measure: take dice.")
    for name, teacher in study.teachers.items():
        _check_teacher(name, teacher, folder)
        if "init" in teacher.changes:
            raise UserError(f"teacher {name}: init is what a student starts from; remove it.")
        study.teacher_recipe(name, 0, folder=folder)
    for name, method in study.methods.items():
        _check_method(study, name, method, folder)
    paths = [study.test.images, study.test.labels] if isinstance(study.test, TestCases) else []
    for path in [*paths, *([study.patients] if study.patients else [])]:
        if not (folder / path).exists():
            raise UserError(f"there is no {folder / path}, which the study names.")
    if study.patients:
        read_patients(folder / study.patients)


def _check_names(kind: str, names: dict[str, Any]) -> None:
    seen: dict[str, str] = {}
    for name in names:
        if not re.match(_NAME, name):
            raise UserError(
                f"{name!r} cannot name a {kind}: use letters, digits, spaces and . , _ + = -, a letter or digit first."
            )
        if (other := seen.setdefault(slug(name), name)) != name:
            raise UserError(f"the {kind}s {other!r} and {name!r} would have the same files; name one differently.")


def _check_teacher(name: str, teacher: StudyTeacher, folder: Path) -> None:
    if teacher.folder is None:
        return
    if trained := sorted(teacher.model_fields_set - {"folder"}):
        raise UserError(f"teacher {name}: a folder is given, so {', '.join(trained)} would have no effect; remove one.")
    if not (folder / teacher.folder / "plans.json").is_file():
        raise UserError(f"teacher {name}: {folder / teacher.folder} is not a trained nnU-Net: it has no plans.json.")


def _check_method(study: Study, name: str, method: StudyMethod, folder: Path) -> None:
    given = [key for key in ("weight", "weights", "balance", "balances") if getattr(method, key) not in (None, [])]
    if len(given) > 1:
        raise UserError(f"method {name}: {' and '.join(given)} exclude each other; give one.")
    if method.tried and study.pilot is None:
        raise UserError(
            f"method {name} has several weights but the study has no pilot, so there are no cases to choose on; add "
            "one, such as `pilot: {fold: 0}`."
        )
    there = [key for key, teacher in study.teachers.items() if not study_trains(teacher)]
    if method.tried and there:
        raise UserError(
            f"method {name} has several weights, and the teacher of a pilot must not have seen the cases on which it "
            f"chooses, but teacher {there[0]} is trained already; give the method one weight, or have the study train "
            "the teacher."
        )
    for what, values in (("weights", method.weights), ("balances", method.balances)):
        if len(set(values)) < len(values) or any(value <= 0 for value in values):
            raise UserError(f"method {name}: {what} have to be above 0, each given once: {values}.")
    _check_part("student", method.students, list(study.students), study=study, name=name)
    _check_part("seed", method.seeds, study.seeds, study=study, name=name)
    says_too = [key for key in study.students_of(name) if study.students[key].init]
    if "init" in method.changes and says_too:
        raise UserError(
            f"method {name} and student {says_too[0]} both say what to start from; remove init from one of them."
        )
    try:
        recipe = study.student_recipe(name, 0, folder=folder, weight=max(method.tried, default=None))
        built = build_method(recipe.method, student_channels=_STAGES, teacher_channels=_STAGES, **recipe.method_options)
        _check_teacher_folds(study, method, taught=bool(built.needs))
        if method.unlabelled:
            refuse_useless_images(built, recipe, weighting_of(recipe, built))
    except UserError as error:
        raise UserError(f"method {name}: {error}") from error


def _check_part(kind: str, chosen: Sequence[T] | None, all_of: Sequence[T], *, study: Study, name: str) -> None:
    """Whether the students or seeds of a method are some of the study's."""
    if chosen is None:
        return
    if name == study.base:
        raise UserError(
            f"method {name} is the first, with which the others are compared, so it needs every {kind}; remove {kind}s."
        )
    if not chosen or len(set(chosen)) < len(chosen) or not set(chosen) <= set(all_of):
        raise UserError(
            f"method {name}: {kind}s have to be some of the study's, which are {', '.join(map(str, all_of))}, each "
            f"given once: {list(chosen)}."
        )


def _check_teacher_seeds(study: Study, method: StudyMethod, *, taught: bool) -> None:
    seeds = method.teacher_seeds or []
    if method.teacher_fold is not None:
        raise UserError("teacher_fold and teacher_seeds exclude each other; give one.")
    if not taught:
        raise UserError("it has no teacher, so teacher_seeds would have no effect; remove it.")
    if len(seeds) < 2 or len(set(seeds)) < len(seeds) or min(seeds) < 0:
        raise UserError(f"teacher_seeds lists several seeds, each once: {seeds}.")
    if given := [name for name, teacher in study.teachers.items() if not study_trains(teacher)]:
        raise UserError(
            f"teacher_seeds needs a teacher that the study trains, and {given[0]} is trained already; leave its folder "
            "out, or name several of its folds in teacher_fold."
        )


def _check_teacher_folds(study: Study, method: StudyMethod, *, taught: bool) -> None:
    folds = method.teacher_fold
    if method.teachers and not isinstance(folds, list) and not method.teacher_seeds:
        raise UserError(
            f"teachers: {method.teachers} has an effect only if teacher_fold lists several folds, or teacher_seeds "
            "several seeds."
        )
    if method.teacher_seeds is not None:
        _check_teacher_seeds(study, method, taught=taught)
    if folds is None:
        return
    if not taught:
        raise UserError("it has no teacher, so teacher_fold would have no effect; remove it.")
    if isinstance(folds, list) and (len(folds) < 2 or len(set(folds)) < len(folds) or min(folds) < 0):
        raise UserError(f"teacher_fold lists several folds, each once, or is out-of-fold: {folds}.")
    if trained := [name for name, teacher in study.teachers.items() if study_trains(teacher)]:
        raise UserError(
            f"teacher_fold needs a teacher with several folds, and the study trains {trained[0]} fold by fold; train "
            "the folds first with `nndistill teach`, and name their model folder in `teachers`."
        )
    if study.test is None:
        raise UserError(
            "with teacher_fold, teachers have seen the validation cases that the study reports, so its figures would "
            "be too good; report test cases instead, such as `test: raw`."
        )
