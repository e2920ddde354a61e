"""One job of a study: train, predict and measure one run, and keep its result."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime, timezone
from importlib.metadata import version
from math import isfinite
from pathlib import Path
from statistics import fmean
from typing import Any

from ..analysis.costs import model_costs
from ..errors import UserError
from ..evaluation.aggregates import mean_of_labels
from ..evaluation.patients import check_patients, read_patients
from ..files import digest, read_json, write_json
from ..gather import EvaluationSettings, gather_results
from ..nnunet.data.stored_folds import stored_folds
from ..nnunet.models.history import read_history
from ..nnunet.models.model_folder import ModelFolder
from ..nnunet.models.prediction import predict_folder
from ..nnunet.training.across_processes import is_first, made_by_first, process_count
from ..nnunet.training.run import Run, refuse_uneven_batches, train
from ..nnunet.training.student import prepare_student
from ..nnunet.training.teacher import prepare_teacher
from ..nnunet.workspace import raw_folder
from ..progress import TrainingState
from ..runtime.machine import describe_machine
from .data import pilot_fold, prepare_data, study_dataset, study_patients
from .definition import Study, TestCases
from .needed_data import refuse_known_test_cases
from .places import DATA, StudyPlaces
from .possible_students import refuse_impossible_students, refuse_untaught_cases
from .results import RunResult, keep_result, read_results
from .runs import StudyRun, run_of, study_runs
from .status import this_process


def carry_out(
    study: Study,
    places: StudyPlaces,
    name: str,
    *,
    on_start: Callable[[int], None] = lambda batches: None,
    on_iteration: Callable[[TrainingState], None] = lambda state: None,
    on_validation: Callable[[], None] = lambda: None,
) -> None:
    """Carry out one job, from the beginning or from where it stopped.

    Processes that `torchrun` started train together; the first alone prepares, measures and writes.

    Args:
        study: The study.
        places: Where its files are.
        name: Name of a run, or `DATA`.
        on_start: As in `train`.
        on_iteration: As in `train`.
        on_validation: As in `train`.

    Raises:
        UserError: The data or a file is not as the study needs it, or a run on which a weight depends has no result.
    """
    with _state(places, name):
        if name == DATA:
            made_by_first(lambda: _prepare(study, folder=places.folder))
            return
        runs = study_runs(study, folder=places.folder)
        run = run_of(runs, name)
        results = read_results([places.results], runs)
        if name in results:
            return
        job = _Job(study, places, run, runs, results)
        if (given := job.given_teacher) is not None:
            made_by_first(lambda: job.keep(given))
            return
        trained = made_by_first(job.prepared)
        refuse_uneven_batches(trained, process_count())
        train(
            trained,
            device=study.device,
            validate=job.reports_validation,
            on_start=on_start,
            on_iteration=on_iteration,
            on_validation=on_validation,
        )
        made_by_first(lambda: job.keep(trained.model_folder))


def _prepare(study: Study, *, folder: Path) -> None:
    """The first job: the data, and whether every training can be made of them, before any begins."""
    plans_file = prepare_data(study, folder=folder)
    _refuse_unknown_patients(study, folder=folder, data=plans_file.parent)
    if study.test:
        refuse_known_test_cases(
            study,
            plans_file.parent.name,
            stored_folds(plans_file.parent) or [],
            study_patients(study, folder=folder),
            _test_case_names(study, folder=folder, data=plans_file.parent),
        )
    refuse_untaught_cases(study, folder=folder, data=plans_file.parent)
    refuse_impossible_students(study, folder=folder, plans_file=plans_file)


def _refuse_unknown_patients(study: Study, *, folder: Path, data: Path) -> None:
    """Refuse a study whose table of patients lacks a case that will be measured."""
    if study.patients is None:
        return
    validated = [*([] if study.test else study.folds), *([pilot_fold(study, folder=folder)] if study.pilot else [])]
    folds = stored_folds(data) or []
    cases = [case for fold in validated for case in folds[fold]["val"]]
    if study.test:
        cases += _test_case_names(study, folder=folder, data=data)
    try:
        check_patients(read_patients(folder / study.patients), cases)
    except UserError as error:
        raise UserError(f"{folder / study.patients}: {error}", option=error.option) from error


def _test_case_names(study: Study, *, folder: Path, data: Path) -> list[str]:
    ending = read_json(data / "dataset.json")["file_ending"]
    return sorted(label.name.removesuffix(ending) for label in _test_cases(study, folder)[1].glob(f"*{ending}"))


def _test_cases(study: Study, folder: Path) -> tuple[Path, Path]:
    """The folders of the test cases' images and label maps."""
    if isinstance(study.test, TestCases):
        return folder / study.test.images, folder / study.test.labels
    raw = raw_folder() / study_dataset(study)
    return raw / "imagesTs", raw / "labelsTs"


class _Job:
    """The steps of one run."""

    def __init__(
        self,
        study: Study,
        places: StudyPlaces,
        run: StudyRun,
        runs: list[StudyRun],
        results: Mapping[str, RunResult],
    ) -> None:
        self.study, self.places, self.run, self.runs, self.results = study, places, run, runs, results
        self.fold = str(pilot_fold(study, folder=places.folder) if run.fold is None else run.fold)

    @property
    def reports_validation(self) -> bool:
        """Whether the fold's validation cases are what is measured."""
        return self.run.is_pilot or self.study.test is None

    @property
    def given_teacher(self) -> Path | None:
        """The model folder of a teacher that is there, if that is what is measured."""
        folder = self.study.teachers[self.run.teacher].folder
        return self.places.folder / folder if folder and self.run.method is None else None

    def prepared(self) -> Run:
        """Write the plans of the training; its name tells it from trainings with another setup."""
        return self._teacher(self.run) if self.run.method is None else self._student()

    def _teacher(self, run: StudyRun) -> Run:
        teacher = self.study.teachers[run.teacher]
        return prepare_teacher(
            study_dataset(self.study),
            prepare_data(self.study, folder=self.places.folder),
            fold=self.fold,
            recipe=self.study.teacher_recipe(run.teacher, run.seed, folder=self.places.folder),
            name=_plans_name(run),
            features=teacher.features,
            patch_size=teacher.patch_size,
            batch_size=teacher.batch_size,
            resume=True,
        )

    def _student(self) -> Run:
        assert self.run.method is not None
        assert self.run.student is not None
        weight = self.weight
        given = self.study.teachers[self.run.teacher].folder
        if given is not None:
            teachers = [self.places.folder / given]
        else:
            needed = [run_of(self.runs, name) for name in self.run.needs]
            teachers = [self._teacher(run).model_folder for run in needed if run.method is None]
        student = self.study.students[self.run.student]
        row = self.study.methods[self.run.method]
        return prepare_student(
            teachers[0],
            also_teachers=teachers[1:],
            fold=self.fold,
            recipe=self.study.student_recipe(self.run.method, self.run.seed, folder=self.places.folder, weight=weight),
            init=student.init,
            **student.shape,
            teacher_fold=_named_folds(row.teacher_fold),
            teachers=row.teachers,
            dataset=study_dataset(self.study),
            name=_plans_name(self.run),
            resume=True,
            unlabelled=self.places.folder / row.unlabelled.images if row.unlabelled else None,
            unlabelled_share=row.unlabelled.share if row.unlabelled else None,
        )

    @property
    def weight(self) -> float | None:
        """What this run of the pilot tries, or what the pilot has chosen; `None` if the row has one weight."""
        if self.run.weight is not None or self.run.method is None or not self.study.methods[self.run.method].tried:
            return self.run.weight
        pilot = self.study.pilot
        assert pilot is not None
        if missing := [name for name in self.run.needs if name not in self.results]:
            raise UserError(
                f"{self.run.name} needs the results of {', '.join(missing)}, which {self.places.results} lacks: carry "
                f"these out first, as `nndistill study run {self.places.file}` does."
            )
        tried = [self.results[name] for name in self.run.needs if self.results[name].run.weight is not None]
        return chosen_weight(tried, pilot.metric)

    def keep(self, model: Path) -> None:
        """Measure what the trained network predicts, and write the result."""
        study, run = self.study, self.run
        predictions, references = self._predictions(model)
        models, _ = gather_results(
            [model],
            names=[run.name],
            fold=self.fold,
            predictions=[predictions] if predictions else [],
            references=references,
            measured=EvaluationSettings(protocol=study.protocol, jobs=study.resources.cpus),
            patients=read_patients(self.places.folder / study.patients) if study.patients else None,
        )
        history = read_history(model, self.fold)
        folder = ModelFolder.read(model)
        costs = model_costs(model)
        facts = {
            "title": run.title,
            "method": run.method,
            "seed": run.seed,
            "fold": None if run.is_pilot else run.fold,
            "weight": self.weight,
            "seconds": round(float(history.log["seconds"].sum()), 1),
            "costs": {key: int(costs[key]) for key in ("parameters", "flops_patch", "flops_case")},
            "history": dict(history.facts),
            "checkpoint_sha256": digest(folder.checkpoint_file(self.fold)),
            "machine": {**_machine(), "cpus": study.resources.cpus, "versions": _versions()},
            "finished": f"{datetime.now(timezone.utc):%Y-%m-%d %H:%M}",
        }
        keep_result(self.places.results, run, facts=facts, metrics=models[0].metrics, curves=history.log)

    def _predictions(self, model: Path) -> tuple[Path | None, Path | None]:
        """Folders of the test cases' predictions and references; neither if the validation cases are measured."""
        if self.reports_validation:
            return None, None
        images, labels = _test_cases(self.study, self.places.folder)
        name = self.run.predictions_name
        if self.run.is_given:  # another network may be in its folder by now
            name += f"_{digest(ModelFolder.read(model).checkpoint_file(self.fold))[:8]}"
        output = self.places.predictions(name)
        predict_folder(model, images, output, fold=self.fold, device=self.study.device)
        return output, labels


def _named_folds(teacher_fold: list[int] | str | None) -> list[str] | str | None:
    """Folds as nnU-Net's folders name them."""
    return [str(fold) for fold in teacher_fold] if isinstance(teacher_fold, list) else teacher_fold


def chosen_weight(tried: list[RunResult], metric: str) -> float:
    """The weight whose runs have the best mean of labels, averaged over their seeds; the smaller one of two equals.

    Raises:
        UserError: A run has no value of the metric.
    """
    values: dict[float, list[float]] = {}
    for result in tried:
        assert result.run.weight is not None
        value = mean_of_labels(result.metrics, metric).value
        if not isfinite(value):
            raise UserError(f"no weight can be chosen: {result.run.name}, which tries one, has no {metric}.")
        values.setdefault(result.run.weight, []).append(value)
    return max(sorted(values), key=lambda weight: fmean(values[weight]))


def _machine() -> dict[str, Any]:
    """Without the command: its paths are private, and results are shared."""
    return {key: value for key, value in describe_machine().items() if key != "command"}


def _versions() -> dict[str, str]:
    return {name: version(name) for name in ("nndistill", "nnunetv2", "torch", "numpy")}


@contextmanager
def _state(places: StudyPlaces, name: str) -> Iterator[None]:
    """Say in the job's state that it runs, and how it ended if it failed."""
    if not is_first():
        yield
        return
    file = places.state(name)
    began = this_process()
    write_json(file, {"state": "running", **began})
    try:
        yield
    except UserError as error:
        write_json(file, {"state": "failed", "why": str(error), **began})
        raise
    except Exception as error:
        write_json(file, {"state": "failed", "why": traceback.format_exception_only(error)[-1].strip(), **began})
        raise
    file.unlink()


def _plans_name(run: StudyRun) -> str:
    return f"study_{run.name}_{run.training_digest[:8]}"
