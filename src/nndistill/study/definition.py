"""A study as its file describes it: data, teachers, students, methods, folds, seeds, and how it is measured."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import Field, model_validator

from ..recipes import Init, Recipe, load_recipe
from ..validation import Strict

TableName = Literal["overall", "ablations"]


class PhantomData(Strict):
    """A synthetic data set that the study generates: see `nndistill.datasets.generate_phantom`."""

    cases: int = Field(ge=5)
    test_cases: int = Field(default=0, ge=0)
    shape: tuple[int, int, int] = (72, 88, 72)
    spacing: tuple[float, float, float] = (2.0, 2.0, 2.0)
    seed: int = Field(default=0, ge=0)


class StudyTeacher(Strict):
    """A teacher: a model folder that is there, or one that the study trains in every fold.

    Args:
        folder: A trained model folder of nnU-Net; relative paths start at the study's file. The other keys are for a
            teacher that the study trains.
        features: Channels of each stage. Default: as planned.
        patch_size: Voxels per patch. Default: as planned.
        batch_size: Patches per batch. Default: as planned.
        changes: Values of the recipe that differ for the teacher.
    """

    folder: Path | None = None
    features: list[int] | None = None
    patch_size: list[int] | None = None
    batch_size: int | None = Field(default=None, ge=1)
    changes: dict[str, Any] = Field(default_factory=dict)


class StudyStudent(Strict):
    """A student network, with the keys that `nndistill.prepare_student` has as parameters.

    Args:
        reduction: By which the teacher's channels are divided.
        features: Channels of each stage, instead of a reduction.
        init: What its weights start from. Default: what the recipe of its row says.
        stages: Number of stages. Default: the teacher's.
        blocks: Blocks of each encoder stage, or one number for all stages. Default: the teacher's.
        architecture: `teacher`, or `plain` for a network without residual connections.
    """

    reduction: int = Field(default=4, ge=1)
    features: list[int] | None = None
    init: Init | None = None
    stages: int | None = None
    blocks: list[int] | None = Field(default=None, min_length=1)
    architecture: Literal["teacher", "plain"] = "teacher"

    @model_validator(mode="after")
    def _one_width(self) -> StudyStudent:
        if self.features and "reduction" in self.model_fields_set:
            raise ValueError("has features and a reduction; leave one of them out")
        return self

    def start(self, recipe: Recipe) -> Init:
        """What its weights start from in a training by this recipe."""
        return self.init or recipe.init

    @property
    def shape(self) -> dict[str, Any]:
        """What differs from the teacher's network, as `StudentShape` names it."""
        values = self.model_dump(exclude={"init"})
        return values | ({"reduction": None} if self.features else {})


class StudyUnlabelled(Strict):
    """Images without labels, of which the students of a row learn from the teacher alone.

    Args:
        images: Their folder, in nnU-Net's layout; a relative path starts at the study's file.
        share: Share of their patches among all patches.
    """

    images: Path
    share: float = Field(default=0.5, ge=0, lt=1)


class StudyMethod(Strict):
    """A row of the tables: a method with its options and weight.

    Args:
        method: A registered name or a combination. Default: the name of the row.
        options: The method's options.
        weight: μ. Default: the method's source weight.
        weights: Several μ, of which the pilot chooses one.
        balances: Several shares of the gradient, of which the pilot chooses one.
        balance: The share of the gradient instead of a weight.
        changes: Values of the recipe that differ for this row, such as `weight_schedule` or `init`.
        unlabelled: Images without labels that join its trainings.
        teacher_fold: Folds of the teacher that teach together, or `out-of-fold`, if each case is taught by the fold
            that has not seen it. Default: the fold of the student.
        teacher_seeds: Seeds of trainings of the teacher that teach together, all in the student's fold: none has seen
            what the study reports. Default: the study's first seed alone.
        teachers: How several folds or seeds teach together: `mean`, `mean-logits` or `rotate`. Default: `mean`.
        students: Names of the students that it trains. Default: all of the study's.
        seeds: Seeds with which it trains them. Default: all of the study's.
        tables: The tables in which the row is.
    """

    method: str | None = None
    options: dict[str, Any] = Field(default_factory=dict)
    weight: float | None = Field(default=None, ge=0)
    weights: list[float] = Field(default_factory=list)
    balances: list[float] = Field(default_factory=list)
    balance: float | None = Field(default=None, gt=0, le=10)
    changes: dict[str, Any] = Field(default_factory=dict)
    unlabelled: StudyUnlabelled | None = None
    teacher_fold: list[int] | Literal["out-of-fold"] | None = None
    teacher_seeds: list[int] | None = None
    teachers: Literal["mean", "mean-logits", "rotate"] | None = None
    students: list[str] | None = None
    seeds: list[int] | None = None
    tables: list[TableName] = Field(default=["overall"], min_length=1)

    @property
    def tried(self) -> list[float]:
        """What the pilot tries: several μ or several shares of the gradient, or nothing."""
        return self.weights or self.balances


class Pilot(Strict):
    """Where weights are chosen: a fold's training cases, split again into cases to train on and cases to choose on.

    Args:
        fold: The fold whose training cases are split.
        share: Share of them, by patient, on which weights are chosen.
        seeds: Seeds of the trainings with each weight.
        metric: The column of the metrics whose mean of labels decides; the weight with the best one is chosen.
    """

    fold: int = Field(default=0, ge=0)
    share: float = Field(default=0.25, gt=0, lt=1)
    seeds: list[int] = Field(default=[0], min_length=1)
    metric: Literal["dice", "nsd"] = "dice"


class TestCases(Strict):
    """Cases that no network is trained on: a folder of images and one of label maps, from the study's file on."""

    __test__ = False  # pytest takes a class of this name for tests

    images: Path
    labels: Path


class Resources(Strict):
    """What one training needs, for the scheduler.

    Args:
        cpus: Processor cores.
        memory_gb: Main memory.
        gpus: GPUs.
        hours: Time limit on a cluster.
    """

    cpus: int = Field(default=2, ge=1)
    memory_gb: float = Field(default=8, gt=0)
    gpus: int = Field(default=0, ge=0)
    hours: float = Field(default=24, gt=0)


class Study(Strict):
    """A study. The keys are those of its file.

    Args:
        description: Its purpose, in one sentence; the heading of its report.
        dataset: Name or number of a data set in nnU-Net's raw folder.
        phantom: A synthetic data set instead, which the study generates as number 900.
        planner: nnU-Net's experiment planner.
        folds: The folds to train in; the validation cases of all of them are reported.
        seeds: Seeds of the students' trainings.
        recipe: A recipe's name or file, from the study's file on.
        changes: Values of the recipe that differ for every training.
        teachers: The teachers by name.
        students: The students by name.
        methods: The rows of the tables by name; the first one is what the others are compared with.
        pilot: Where weights are chosen.
        protocol: How predictions are measured.
        test: Cases to report instead of the validation cases: `raw` for `imagesTs` and `labelsTs` of the data set, or
            two folders.
        patients: A table with the columns `case` and `patient`. Default: what the data set's report says.
        device: As in `nndistill distill`.
        resources: What one training needs.

    Example:
        >>> study = Study.model_validate({"dataset": 4, "methods": {"none": {}, "dcd": {}}, "seeds": [0, 1, 2]})
        >>> study.recipe, study.folds, study.base
        ('paper', [0], 'none')
    """

    description: str = "Distillation study"
    dataset: int | str | None = None
    phantom: PhantomData | None = None
    planner: str = "ResEncUNetPlanner"
    folds: list[int] = Field(default=[0], min_length=1)
    seeds: list[int] = Field(default=[0], min_length=1)
    recipe: str = "paper"
    changes: dict[str, Any] = Field(default_factory=dict)
    teachers: dict[str, StudyTeacher] = Field(default={"teacher": StudyTeacher()}, min_length=1)
    students: dict[str, StudyStudent] = Field(default={"student": StudyStudent()}, min_length=1)
    methods: dict[str, StudyMethod] = Field(min_length=1)
    pilot: Pilot | None = None
    protocol: str = "default"
    test: Literal["raw"] | TestCases | None = None
    patients: Path | None = None
    device: str = "auto"
    resources: Resources = Resources()

    @property
    def base(self) -> str:
        """Name of the row that the others are compared with."""
        return next(iter(self.methods))

    def teacher_recipe(self, teacher: str, seed: int, *, folder: Path) -> Recipe:
        """The recipe of a teacher that the study trains."""
        return self._recipe(folder, self.teachers[teacher].changes, seed=seed)

    def student_recipe(self, method: str, seed: int, *, folder: Path, weight: float | None = None) -> Recipe:
        """The recipe of a student.

        Args:
            method: Name of its row.
            seed: Seed of the training.
            folder: Folder of the study's file.
            weight: The μ, or the share of the gradient, that the pilot tries or has chosen, in a row that has several.
        """
        row = self.methods[method]
        return self._recipe(
            folder,
            row.changes,
            seed=seed,
            method=row.method or method,
            method_options=row.options or None,
            distillation_weight=row.weight if weight is None or row.balances else weight,
            balance=weight if row.balances else row.balance,
        )

    def students_of(self, method: str) -> list[str]:
        """Names of the students that a row trains, in the study's order."""
        chosen = self.methods[method].students
        return [name for name in self.students if chosen is None or name in chosen]

    def _recipe(self, folder: Path, changes: dict[str, Any], **values: Any) -> Recipe:
        file = folder / self.recipe
        recipe = load_recipe(file if file.suffix in {".yaml", ".yml"} else self.recipe)
        return recipe.adjusted(**{**self.changes, **changes}).adjusted(**values)


def study_trains(teacher: StudyTeacher) -> bool:
    """Whether the study trains a teacher, rather than taking one that is there."""
    return teacher.folder is None


def slug(name: str) -> str:
    """A name as part of a file name: small letters, digits and hyphens.

    Example:
        >>> slug("DCD, band S")
        'dcd-band-s'
    """
    return "-".join("".join(c if c.isalnum() or c == "." else " " for c in name.lower()).split())
