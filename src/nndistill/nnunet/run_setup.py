"""The setup of a run, as written into its plans: the recipe and, for a distillation, the teacher and the method.

nnU-Net keeps keys of a plans file that it does not know, copies the file into the model folder and passes it to the
trainer. So a run describes itself, and stock resuming and multi-GPU training work.
"""

from __future__ import annotations

from importlib.metadata import version
from typing import Any, Literal, NamedTuple

from pydantic import Field, ValidationError, model_validator

from ..errors import UserError
from ..methods import Method, build_method, for_several_teachers
from ..recipes import Init, Recipe, Weighting
from ..teacher_engines.choice import Wanted
from ..validation import Strict, explain

KEY = "nndistill"
"""The key of the setup in the plans, and of nnDistill's own state in a checkpoint."""


Precision = Literal["float32", "bfloat16", "float16"]
"""What a network computes in while it is trained."""

Together = Literal["mean", "mean-logits", "rotate", "out-of-fold"]
"""How several teachers teach: all at once, by the mean of their probabilities or of their logits; one per batch in
turn; or each case by those that have not seen it."""


class TeacherModel(Strict):
    """A model folder whose folds teach, and how many channels its stages have."""

    folder: str
    checkpoint: str
    channels: list[int]


class TeacherNetwork(NamedTuple):
    """One network that teaches: a fold of a model."""

    model: TeacherModel
    fold: str


class Teacher(TeacherModel):
    """Where the teacher is, and which of its folds teaches which of the student's.

    A student that is trained fold by fold is one model, each fold of which has its own teacher: the one that `folds`
    names, or else the teacher's fold of the same name. Older setups have one `fold` for those that are not named.
    If `folds` names several, their networks teach `together`, and the same folds of the models in `also` with them.
    """

    folds: dict[str, str | list[str]] = Field(default_factory=dict)
    fold: str | None = None
    also: list[TeacherModel] = Field(default_factory=list)
    together: Together = "mean"

    def fold_for(self, fold: str | int) -> str:
        """Return the teacher's fold that teaches a fold of the student; the first of several."""
        return self.folds_for(fold)[0]

    def folds_for(self, fold: str | int) -> list[str]:
        """Return the teacher's folds that teach a fold of the student.

        Raises:
            UserError: Others are taught by several teachers, and nothing says by which this one is.
        """
        named = self.folds.get(str(fold))
        if named is None and any(isinstance(each, list) for each in self.folds.values()):
            raise UserError(
                f"the plans do not say which folds of the teacher teach fold {fold}; prepare this fold with "
                "`nndistill distill` before it is trained."
            )
        return [named or self.fold or str(fold)] if not isinstance(named, list) else named

    def networks_for(self, fold: str | int) -> list[TeacherNetwork]:
        """Return the networks that teach a fold of the student, in the order of their numbers."""
        folds = self.folds_for(fold)
        return [TeacherNetwork(model, taught_by) for model in (self, *self.also) for taught_by in folds]


class Unlabelled(Strict):
    """Images without labels, of which the student learns from the teacher alone.

    Args:
        folder: Where the images were when they were preprocessed.
        images: How many there are.
        digest: SHA-256 of them all.
        preprocessed: Their folder below the preprocessed data set.
        share: Share of unlabelled patches among all patches.
    """

    folder: str
    images: int
    digest: str
    preprocessed: str
    share: float = Field(ge=0, lt=1)

    @property
    def described(self) -> str:
        """Say it in words."""
        number = "1 image" if self.images == 1 else f"{self.images} images"
        return f"{number} (SHA-256 {self.digest[:12]}…), share of the patches {self.share:g}"


class Distillation(Strict):
    """Which method compares which stages of student and teacher, with which options and weight, from what the student
    starts, what computes the teacher, and on which images without labels too.

    `stages` are the student's and the teacher's encoder stages of equal resolution, counted from 0, the finest.
    """

    method: str
    options: dict[str, Any] = Field(default_factory=dict)
    student_channels: list[int]
    teacher: Teacher
    stages: list[tuple[int, int]]
    init: Init = "random"
    weighting: Weighting
    teacher_engine: Wanted = "auto"
    unlabelled: Unlabelled | None = None

    @model_validator(mode="before")
    @classmethod
    def _of_older_versions(cls, values: Any) -> Any:
        """In older setups, all stages are compared, one by one."""
        match values:
            case {"student_channels": list(ours), "teacher": {"channels": list(theirs)}} if "stages" not in values:
                return {**values, "stages": [(stage, stage) for stage in range(min(len(ours), len(theirs)))]}
        return values

    def build_method(
        self, *, fold: str | int, ndim: int = 3, classes: int | None = None, ignores: bool | None = None
    ) -> Method:
        """Build the method of this run, the parts of a combination with their weights.

        Args:
            fold: The student's, which may have several teachers.
            ndim: Number of dimensions of the networks.
            classes: Number of classes in the targets, the background included.
            ignores: Whether targets may leave voxels out.
        """
        weights = {"weights": list(self.weighting.parts.values())} if self.weighting.parts else {}
        return for_several_teachers(
            [
                build_method(
                    self.method,
                    student_channels=[self.student_channels[ours] for ours, _ in self.stages],
                    teacher_channels=[network.model.channels[theirs] for _, theirs in self.stages],
                    ndim=ndim,
                    classes=classes,
                    ignores=ignores,
                    **{**self.options, **weights},
                )
                for network in self.teacher.networks_for(fold)
            ]
        )


class RunSetup(Strict):
    """The whole setup of a run.

    `distillation` is absent if a teacher is trained. `precision` is what a run that has begun computes in: it stands in
    the setup that its checkpoints hold.
    """

    recipe: Recipe
    distillation: Distillation | None = None
    precision: Precision | None = None
    nndistill_version: str = Field(default_factory=lambda: version("nndistill"))

    @model_validator(mode="before")
    @classmethod
    def _of_older_versions(cls, values: Any) -> Any:
        """Older setups have no weighting: μ was the recipe's, and the parts of a combination weighed 1 each."""
        match values:
            case {"distillation": {"method": str(method), **rest}, "recipe": {"distillation_weight": weight}} if (
                "weighting" not in rest
            ):
                weighting: dict[str, Any] = {"weight": weight, "origin": "given"}
                if "+" in method:
                    parts = method.split("+")
                    weights = values["distillation"].get("options", {}).get("weights", [1.0] * len(parts))
                    weighting["parts"] = dict(zip(parts, weights, strict=True))
                return {**values, "distillation": {**values["distillation"], "weighting": weighting}}
        return values

    def into(self, plans: dict[str, Any]) -> dict[str, Any]:
        """Return a copy of plans that contains this setup."""
        return {**plans, KEY: self.model_dump(mode="json")}

    @classmethod
    def of(cls, plans: dict[str, Any]) -> RunSetup:
        """Read the setup back from plans.

        Raises:
            UserError: The setup is not valid: it was changed by hand, or written by a newer version.
        """
        try:
            return cls.model_validate(plans[KEY])
        except ValidationError as error:
            sentence = explain(error, cls, plans[KEY]).sentence
            raise UserError(
                f"the plans {plans.get('plans_name')!r} hold, under {KEY!r}, a setup that this version cannot read: "
                f"{sentence} Were they changed by hand, or written by a newer version?"
            ) from error
