"""`nndistill distill`."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from typer.core import TyperCommand

from ...errors import UserError
from ...progress import StepProgress
from ..options import (
    Accumulate,
    AsJson,
    BatchSize,
    Blocks,
    Configuration,
    Device,
    Epochs,
    Features,
    Fold,
    Gpus,
    Iterations,
    LearningRate,
    Name,
    Precision,
    RecipeName,
    Resume,
    Seed,
    Track,
    Validate,
    Workspace,
)
from ..training import adjusted_recipe, prepared, refuse_missing_device, report_training, train_with_progress

if TYPE_CHECKING:
    from ...nnunet.training.run import Run

_METHODS = "{methods}"


class DistillCommand(TyperCommand):
    """The command, with the names of the methods in its help, which are looked up only when help is shown."""

    def format_help(self, ctx: Any, formatter: Any) -> None:
        from ...methods.names import method_names

        names = ", ".join(method_names())
        for parameter in self.params:
            if help_text := getattr(parameter, "help", None):
                parameter.help = help_text.replace(_METHODS, names)  # type: ignore[attr-defined]
        super().format_help(ctx, formatter)


def distill(
    teacher_folder: Annotated[Path, typer.Argument(help="Model folder of a trained nnU-Net.")],
    configuration: Configuration = None,
    fold: Fold = "0",
    method: Annotated[
        str | None,
        typer.Option(
            help=f"What the student matches: {_METHODS} (the student alone). Join several with +, such as dcd+logits. "
            "Default: the recipe's."
        ),
    ] = None,
    option: Annotated[
        list[str] | None,
        typer.Option(
            help="Option of the method, such as bands=D, or of one of several methods: dcd.bands=D. "
            "Repeat the option for more."
        ),
    ] = None,
    weight: Annotated[
        float | None,
        typer.Option(
            min=0,
            help="Weight μ of the distillation. Default: the recipe's, or the source weight of another --method.",
        ),
    ] = None,
    balance: Annotated[
        float | None,
        typer.Option(
            help="Instead of a weight: share of the segmentation's gradient at which the distillation's gradient is "
            "kept, above 0 and at most 10."
        ),
    ] = None,
    reduction: Annotated[
        int | None, typer.Option(help="Number by which the teacher's channels are divided. Default: 4.")
    ] = None,
    features: Features = None,
    stages: Annotated[
        int | None,
        typer.Option(
            help="Number of the student's stages; the teacher's deepest are left out. Default: the teacher's."
        ),
    ] = None,
    blocks: Blocks = None,
    architecture: Annotated[
        Literal["teacher", "plain"],
        typer.Option(help="The student's kind of network: the teacher's, or one without residual connections."),
    ] = "teacher",
    init: Annotated[
        Literal["random", "teacher"] | None,
        typer.Option(
            help="What the student starts from: random weights, or the teacher's most important channels. "
            "Default: the recipe's."
        ),
    ] = None,
    recipe_name: RecipeName = "paper",
    epochs: Epochs = None,
    iterations: Iterations = None,
    learning_rate: LearningRate = None,
    batch_size: BatchSize = None,
    precision: Precision = None,
    accumulate: Accumulate = None,
    seed: Seed = None,
    device: Device = "auto",
    gpus: Gpus = 1,
    teacher_fold: Annotated[
        list[str] | None,
        typer.Option(
            help="Fold of the teacher's weights, or several, such as --teacher-fold 0 1 2 3 4. With out-of-fold, each "
            "case is taught by the fold that has not seen it. Default: --fold."
        ),
    ] = None,
    also_teacher: Annotated[
        list[Path] | None,
        typer.Option(
            help="Further model folder of the same data set and configuration, whose same folds teach too. Repeat the "
            "option for more."
        ),
    ] = None,
    teachers: Annotated[
        Literal["mean", "mean-logits", "rotate"] | None,
        typer.Option(
            help="How several teachers teach: by the mean of their probabilities (mean), by the mean of their logits "
            "(mean-logits), or one per batch in turn (rotate). Default: mean."
        ),
    ] = None,
    teacher_checkpoint: Annotated[
        str | None,
        typer.Option(help="The teacher's checkpoint, such as checkpoint_best.pth. Default: the recipe's choice."),
    ] = None,
    teacher_engine: Annotated[
        Literal["auto", "torch", "openvino"],
        typer.Option(
            help="What computes the teacher on a processor: PyTorch, OpenVINO, or the fastest that gives the same "
            "features."
        ),
    ] = "auto",
    unlabelled: Annotated[
        Path | None,
        typer.Option(
            help="Folder of images without labels in nnU-Net's layout (CASE_0000.nii.gz), on which the student learns "
            "from the teacher alone."
        ),
    ] = None,
    unlabelled_share: Annotated[
        float | None,
        typer.Option(help="Share of unlabelled patches among all patches, at least 0 and below 1. Default: 0.5."),
    ] = None,
    dataset_id: Annotated[int | None, typer.Option(help="Data set to train on. Default: the teacher's.")] = None,
    name: Name = None,
    resume: Resume = False,
    validate: Validate = True,
    track: Track = None,
    workspace: Workspace = None,
    as_json: AsJson = False,
) -> None:
    """Distil a teacher into a smaller student."""
    from ...nnunet.training import tracking
    from ...nnunet.training.launched import joined
    from ...nnunet.training.student import prepare_student
    from ...nnunet.workspace import use_workspace
    from ...runtime.backends.torch import find_device

    use_workspace(workspace)
    for tracker in track or []:
        tracking.track(tracker)

    def prepare() -> Run:
        refuse_missing_device(device, gpus=gpus)
        recipe = adjusted_recipe(
            recipe_name,
            epochs=epochs,
            iterations=iterations,
            learning_rate=learning_rate,
            precision=precision,
            accumulate=accumulate,
            seed=seed,
            distillation_weight=weight,
            balance=balance,
            method=method,
            method_options=_options(option or []) or None,
        )
        with StepProgress("unlabelled images") if unlabelled else nullcontext(_say_nothing) as report:
            return prepare_student(
                teacher_folder,
                fold=fold,
                recipe=recipe,
                reduction=reduction,
                features=features,
                stages=stages,
                blocks=blocks,
                architecture=architecture,
                batch_size=batch_size,
                teacher_fold=teacher_fold,
                also_teachers=also_teacher or [],
                teachers=teachers,
                teacher_checkpoint=teacher_checkpoint,
                configuration=configuration,
                dataset=None if dataset_id is None else str(dataset_id),
                name=name,
                init=init,
                teacher_engine=teacher_engine,
                unlabelled=unlabelled,
                unlabelled_share=unlabelled_share,
                resume=resume,
                on_unlabelled=report,
            )

    with joined(device, gpus=gpus):
        run = prepared(prepare)
        recipe = run.recipe
        train_with_progress(run, f"student ({recipe.method})", device=device, gpus=gpus, validate=validate)
        best = ["-chk", "checkpoint_best.pth"] if recipe.checkpoint == "best" else []
        kind = "cuda" if gpus > 1 else find_device(device).type
        place = ["-device", kind] if kind != "cuda" else []  # which is nnU-Net's default
        folds = [other for other in run.finished_folds if other != "all"] if fold != "all" else [fold]
        next_step = ["nnUNetv2_predict_from_modelfolder", "-m", run.model_folder, "-f", *folds, *best, *place]
        next_step += ["-i", "IMAGES", "-o", "OUTPUT"]
        report_training(run, validate=validate, as_json=as_json, next_step=next_step)


def _say_nothing(done: int, total: int) -> None:
    """No progress, where there is nothing to wait for."""


def _options(given: list[str]) -> dict[str, Any]:
    import yaml

    options = {}
    for text in given:
        key, equals, value = text.partition("=")
        if not equals:
            raise UserError(f"--option {text} is not of the form NAME=VALUE.")
        try:
            options[key] = yaml.safe_load(value)
        except yaml.YAMLError as error:
            raise UserError(f"--option {text} has a value that cannot be read; a list is written [1, 2].") from error
    return options
