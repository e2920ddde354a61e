"""The whole path on synthetic data: phantom → teacher → students → held-out cases → report.

Every step leaves its result in the workspace and is skipped if the result exists, so a killed demo continues where it
stopped.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from .analysis.costs import network_costs
from .datasets import generate_phantom
from .gather import gather_results
from .nnunet.data.preprocessing import plan_and_preprocess
from .nnunet.models.prediction import predict_folder
from .nnunet.training.run import Run, train
from .nnunet.training.student import prepare_student
from .nnunet.training.teacher import prepare_teacher
from .nnunet.workspace import raw_folder, use_workspace
from .progress import StepProgress, TrainingProgress, console
from .recipes import Recipe, load_recipe
from .reporting import Report, write_report

FOLD = "0"


@dataclass(frozen=True)
class DemoSize:
    """Amount of work that the demo does; the default takes minutes on two CPU cores."""

    cases: int = 16
    test_cases: int = 3
    shape: tuple[int, int, int] = (72, 88, 72)
    spacing: tuple[float, float, float] = (2.0, 2.0, 2.0)
    patch_size: tuple[int, int, int] = (32, 40, 32)
    teacher_features: tuple[int, ...] = (16, 32, 64, 128)
    teacher_epochs: int = 5
    student_epochs: int = 7
    teacher_learning_rate: float = 3e-3
    student_learning_rate: float = 4e-3  # at the recipe's 1e-3, so small a network misses two classes for 400 batches
    iterations: int = 40
    validation_iterations: int = 4


@dataclass(frozen=True)
class DemoResult:
    """Results of the demo.

    Args:
        costs: As `network_costs` returns them.
        report: Tables, statistics and the HTML page.
        models: The three model folders by name.
        cases: Number of held-out cases.
    """

    costs: pd.DataFrame
    report: Report
    models: dict[str, Path]
    cases: int

    @property
    def numbers(self) -> dict[str, Any]:
        """Everything as plain values, for JSON."""
        return {
            "costs": self.costs.to_dict(orient="index"),
            "report": self.report.numbers,
            "models": {name: str(path) for name, path in self.models.items()},
        }


def run_demo(workspace: Path, *, device: str = "auto", size: DemoSize = DemoSize()) -> DemoResult:
    """Run the demo, or continue it.

    Args:
        workspace: Folder for data, models and results.
        device: As in `nndistill.nnunet.training.run.train`.
        size: Amount of work.
    """
    use_workspace(workspace)
    _step(1, "a phantom: synthetic MRI of brain tumours")
    with StepProgress("cases") as report:
        data = generate_phantom(
            raw_folder(),
            cases=size.cases,
            test_cases=size.test_cases,
            shape=size.shape,
            spacing=size.spacing,
            progress=report,
        )
    _step(2, "nnU-Net plans and preprocesses it")
    plans_file = plan_and_preprocess(data.name, planner="ResEncUNetPlanner")

    teacher = _teacher(data.name, plans_file, size)
    _train(3, "teacher", teacher, device)
    alone = _student(teacher, "none", size)
    _train(4, "student without distillation", alone, device)
    distilled = _student(teacher, "dcd", size)
    _train(5, "student with DCD", distilled, device)

    models = {
        "Teacher": teacher.model_folder,
        "Student, no distillation": alone.model_folder,
        "Student, DCD": distilled.model_folder,
    }
    _step(6, f"stock nnU-Net predicts {size.test_cases} held-out cases")
    predictions = _predict(models, data, workspace / "predictions", device)
    _step(7, "Dice, HD95 and NSD; tables, figures and a page that contains them")
    return _report(models, predictions, data, workspace / "report")


def _step(number: int, what: str) -> None:
    console.print(f"[bold]Step {number} of 7:[/bold] {what}", highlight=False)


def _teacher(dataset: str, plans_file: Path, size: DemoSize) -> Run:
    return prepare_teacher(
        dataset,
        plans_file,
        fold=FOLD,
        recipe=_recipe(size, epochs=size.teacher_epochs, learning_rate=size.teacher_learning_rate),
        features=size.teacher_features,
        patch_size=size.patch_size,
        batch_size=2,
        resume=True,
    )


def _student(teacher: Run, method: str, size: DemoSize) -> Run:
    recipe = _recipe(size, epochs=size.student_epochs, learning_rate=size.student_learning_rate)
    return prepare_student(teacher.model_folder, fold=FOLD, recipe=recipe.adjusted(method=method), resume=True)


def _recipe(size: DemoSize, *, epochs: int, learning_rate: float) -> Recipe:
    return load_recipe("quick").adjusted(
        learning_rate=learning_rate,
        epochs=epochs,
        iterations=size.iterations,
        validation_iterations=size.validation_iterations,
    )


def _train(step: int, title: str, run: Run, device: str) -> None:
    _step(step, title)
    if run.finished:
        return
    with TrainingProgress(title) as progress:
        train(run, device=device, validate=False, on_start=progress.start, on_iteration=progress.advance)


def _predict(models: dict[str, Path], data: Path, predictions: Path, device: str) -> list[Path]:
    folders = [predictions / model.name for model in models.values()]
    for (name, model), folder in zip(models.items(), folders, strict=True):
        with console.status(name):
            predict_folder(model, data / "imagesTs", folder, fold=FOLD, device=device)
    return folders


def _report(models: dict[str, Path], predictions: list[Path], data: Path, out: Path) -> DemoResult:
    reported, cases = gather_results(
        list(models.values()),
        names=list(models),
        fold=FOLD,
        predictions=predictions,
        references=data / "labelsTs",
        images=data / "imagesTs",
    )
    report = write_report(reported, cases, out, title="nnDistill demo", channel="T1C")
    costs = network_costs(next(iter(models.values())))
    return DemoResult(costs=costs, report=report, models=models, cases=len(cases.references))
