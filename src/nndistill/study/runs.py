"""The trainings of a study: every combination of its file, what each one needs first, and what defines its result."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import UserError
from ..recipes import Recipe
from .definition import Study, StudyStudent, TestCases, slug, study_trains


@dataclass(frozen=True)
class StudyRun:
    """One training of a study.

    Args:
        name: Unique in the study; the name of its folder of results.
        teacher: Name of the teacher; the run trains it if there is no `method`.
        student: Name of the student.
        method: Name of the row.
        fold: The fold; `None` for the pilot's, which has a number only when the data are there.
        seed: Seed of the training.
        weight: The μ that a run of the pilot tries, or the share of the gradient if the row has `balances`.
        needs: Names of the runs that have to be done first.
        definition: Everything that decides its result, as plain values.
        several_teachers: Whether the study has several, so that the title of a student names its own.
        names_seed: Whether its name and title have the seed; those of a teacher with the study's first seed do not.
    """

    name: str
    teacher: str
    student: str | None
    method: str | None
    fold: int | None
    seed: int
    weight: float | None
    needs: tuple[str, ...]
    definition: dict[str, Any]
    several_teachers: bool = False
    names_seed: bool = True

    @property
    def digest(self) -> str:
        """SHA-256 of the definition: two runs with the same one are the same run."""
        return _digest(self.definition)

    @property
    def training_digest(self) -> str:
        """The same without how predictions are measured, which may change without another training."""
        return _digest({key: value for key, value in self.definition.items() if key != "measured"})

    @property
    def earlier_digest(self) -> str:
        """The digest in results from before a setup named the folders of its test cases."""
        measured = self.definition["measured"]
        if not isinstance(measured["test"], dict):
            return self.digest
        return _digest({**self.definition, "measured": {**measured, "test": "folders"}})

    @property
    def predictions_name(self) -> str:
        """The folder of what it predicts: another one for another training, or for other test cases."""
        test = self.definition["measured"]["test"]
        of_test = [_digest(test)[:8]] if isinstance(test, dict) else []
        return "_".join([self.name, self.training_digest[:8], *of_test])

    @property
    def is_pilot(self) -> bool:
        """Whether it is only there to choose a weight."""
        return self.fold is None

    @property
    def is_given(self) -> bool:
        """Whether it is a teacher that is there already, of which only the predictions are measured."""
        return self.method is None and "teacher" in self.definition

    @property
    def title(self) -> str:
        """What a person calls it: `DCD, student, fold 0, seed 1`."""
        parts = [self.method or self.teacher]
        parts += [self.student] if self.student else []
        parts += [f"of {self.teacher}"] if self.method and self.several_teachers else []
        parts += ["pilot" if self.is_pilot else f"fold {self.fold}"]
        if self.weight is not None:
            kind = "μ =" if self.definition["recipe"]["balance"] is None else "share"
            parts.append(f"{kind} {self.weight:g}")
        return ", ".join([*parts, *([f"seed {self.seed}"] if self.names_seed else [])])


def study_runs(study: Study, *, folder: Path) -> list[StudyRun]:
    """List the trainings of a study, each after those that it needs.

    Args:
        study: The study.
        folder: Folder of its file.

    Raises:
        UserError: Two trainings would have one name.

    Example:
        >>> study = Study.model_validate({"dataset": 4, "methods": {"none": {}, "dcd": {}}, "seeds": [0, 1]})
        >>> [run.name for run in study_runs(study, folder=Path())]
        ['teacher_f0', 'none_f0_s0', 'none_f0_s1', 'dcd_f0_s0', 'dcd_f0_s1']
    """
    runs: dict[str, StudyRun] = {}
    for run in _Expansion(study, folder).runs():
        if runs.setdefault(run.name, run).definition != run.definition:
            titles = f"{runs[run.name].title!r} and {run.title!r}"
            raise UserError(f"the trainings {titles} would both be called {run.name}; rename the teacher or the row.")
    return list(runs.values())


def run_of(runs: list[StudyRun], name: str) -> StudyRun:
    """The run of a name.

    Raises:
        UserError: The study has none.
    """
    found = next((run for run in runs if run.name == name), None)
    if found is None:
        raise UserError(f"the study has no run {name!r}.")
    return found


@dataclass(frozen=True)
class _Expansion:
    study: Study
    folder: Path

    def runs(self) -> Iterator[StudyRun]:
        study = self.study
        for teacher in study.teachers:
            for student in study.students:
                for method, row in study.methods.items():
                    if student not in study.students_of(method):
                        continue
                    pilots = list(self._pilots(teacher, student, method)) if row.tried else []
                    yield from pilots
                    chosen_by = [run for run in pilots if run.method]
                    for fold in study.folds:
                        yield from self._teachers(teacher, method, fold)
                        for seed in study.seeds if row.seeds is None else row.seeds:
                            yield self._student(teacher, student, method, fold, seed, chosen_by)

    def _pilots(self, teacher: str, student: str, method: str) -> Iterator[StudyRun]:
        pilot = self.study.pilot
        assert pilot is not None
        yield from self._teachers(teacher, method, None)
        for weight in self.study.methods[method].tried:
            for seed in pilot.seeds:
                yield self._student(teacher, student, method, None, seed, [], weight=weight)

    def _teachers(self, teacher: str, method: str, fold: int | None) -> list[StudyRun]:
        """The trainings of a teacher that teach a row in a fold."""
        seeds = self.study.methods[method].teacher_seeds or self.study.seeds[:1]
        return [self._teacher(teacher, fold, seed) for seed in seeds]

    def _teacher(self, teacher: str, fold: int | None, seed: int) -> StudyRun:
        """The training of a teacher in a fold; for a teacher that is there, only what it predicts is measured."""
        chosen = self.study.teachers[teacher]
        definition: dict[str, Any]
        if study_trains(chosen):
            recipe = self.study.teacher_recipe(teacher, seed, folder=self.folder)
            definition = {
                "network": chosen.model_dump(mode="json", include={"features", "patch_size", "batch_size"}),
                "recipe": _values(recipe),
            }
        else:
            definition = {"teacher": str(chosen.folder)}
        others = [f"s{seed}"] if seed != self.study.seeds[0] else []
        name = "_".join([slug(teacher), _fold(fold), *others])
        return self._run(name, teacher, None, None, fold, seed, None, (), definition, names_seed=bool(others))

    def _student(
        self,
        teacher: str,
        student: str,
        method: str,
        fold: int | None,
        seed: int,
        chosen_by: list[StudyRun],
        *,
        weight: float | None = None,
    ) -> StudyRun:
        row = self.study.methods[method]
        first, *others = self._teachers(teacher, method, fold)
        trained = [first, *others] if study_trains(self.study.teachers[teacher]) else []
        recipe = self.study.student_recipe(method, seed, folder=self.folder, weight=weight)
        definition: dict[str, Any] = {
            "network": _network(self.study.students[student], recipe),
            "recipe": _values(recipe),
            "teacher": first.training_digest,
        }
        if row.unlabelled:
            definition["unlabelled"] = row.unlabelled.model_dump(mode="json")
        if row.teacher_fold:
            definition["taught_by"] = {"fold": row.teacher_fold, "together": row.teachers or "mean"}
        if others:
            also = [run.training_digest for run in others]
            definition["taught_by"] = {"also": also, "together": row.teachers or "mean"}
        if row.tried and weight is None:
            definition["weights"] = {"of": row.tried, "chosen_by": [run.digest for run in chosen_by], **self._metric()}
        several = [
            slug(name)
            for name, names in ((teacher, self.study.teachers), (student, self.study.students))
            if len(names) > 1
        ]
        parts = [slug(method), *several, _fold(fold)]
        parts += [f"w{weight:g}"] if weight is not None else []
        needs = tuple(run.name for run in [*trained, *chosen_by])
        name = "_".join([*parts, f"s{seed}"])
        return self._run(name, teacher, student, method, fold, seed, weight, needs, definition)

    def _metric(self) -> dict[str, str]:
        """The metric by which the pilot chooses, as results from before it was part of a setup have it."""
        pilot = self.study.pilot
        assert pilot is not None
        return {} if pilot.metric == "dice" else {"by": pilot.metric}

    def _run(
        self,
        name: str,
        teacher: str,
        student: str | None,
        method: str | None,
        fold: int | None,
        seed: int,
        weight: float | None,
        needs: tuple[str, ...],
        definition: dict[str, Any],
        *,
        names_seed: bool = True,
    ) -> StudyRun:
        study = self.study
        pilot = study.pilot.model_dump(mode="json", include={"fold", "share"}) if fold is None and study.pilot else None
        data = {
            "data": study.phantom.model_dump(mode="json") if study.phantom else str(study.dataset),
            "planner": study.planner,
            "fold": pilot or fold,
        }
        test = study.test.model_dump(mode="json") if isinstance(study.test, TestCases) else study.test
        measured = {"protocol": study.protocol, "test": None if fold is None else test}
        definition = {**data, **definition, "measured": measured}
        several = len(study.teachers) > 1
        return StudyRun(name, teacher, student, method, fold, seed, weight, needs, definition, several, names_seed)


def _values(recipe: Recipe) -> dict[str, Any]:
    """A recipe as plain values, as results from before it could compute a batch in parts have it.

    What a student starts from is not among them: it belongs to the network.
    """
    return recipe.model_dump(mode="json", exclude={"init", *(["accumulate"] if recipe.accumulate == 1 else [])})


def _network(student: StudyStudent, recipe: Recipe) -> dict[str, Any]:
    """A student as plain values, as results from before it could have another shape have it."""
    known = {"reduction", "features"}
    shape = student.model_dump(mode="json", include=known | set(student.model_dump(exclude_defaults=True)))
    return {**shape, "init": student.start(recipe)}


def _fold(fold: int | None) -> str:
    return "pilot" if fold is None else f"f{fold}"


def _digest(content: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
