"""The command line: parses, calls, prints. Heavy imports wait inside the commands, so that --help is quick."""

from __future__ import annotations

import json
import logging
import os
import sys
import traceback
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
import yaml
from rich.logging import RichHandler
from rich.table import Table

from .errors import UserError
from .progress import StepProgress, TrainingProgress, console

if TYPE_CHECKING:
    import pandas as pd

    from .nnunet.run import Run
    from .recipes import Recipe

app = typer.Typer(
    help="Distil a trained 3D nnU-Net into a student many times smaller that keeps the fine detail.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
prepare = typer.Typer(help="Bring a public data set into nnU-Net's raw format.", no_args_is_help=True)
app.add_typer(prepare, name="prepare")

_LISTS = ("--features",)
_UsageError: Any = typer.BadParameter.__base__  # of Click, or of the copy of Click that Typer brings

Workspace = Annotated[
    Path | None,
    typer.Option(help="Folder for nnU-Net's three folders; default: its environment variables."),
]
Fold = Annotated[str, typer.Option(help="Fold of the cross-validation, 0 to 4, or all.")]
Features = Annotated[list[int] | None, typer.Option(help="Channels of each stage: --features 16 32 64 128.")]
RecipeName = Annotated[str, typer.Option("--recipe", help="paper, quick (short budgets, CPU), or a YAML file.")]
Epochs = Annotated[int | None, typer.Option(help="Instead of the recipe's.")]
Iterations = Annotated[int | None, typer.Option(help="Training batches an epoch, instead of the recipe's.")]
BatchSize = Annotated[int | None, typer.Option(min=1, help="Patches a batch, instead of the plans'.")]
LearningRate = Annotated[float | None, typer.Option(help="Initial learning rate, instead of the recipe's.")]
Seed = Annotated[int | None, typer.Option(help="Seed of weights and sampling, instead of the recipe's.")]
Device = Annotated[str, typer.Option(help="cpu, cuda, mps, or auto: a GPU where there is one.")]
Gpus = Annotated[int, typer.Option(min=1, help="Number of GPUs to train on together.")]
Name = Annotated[str | None, typer.Option(help="Plans name of the run, and so of its folder.")]
Resume = Annotated[bool, typer.Option("--resume", help="Go on with a training that was begun before.")]
Validate = Annotated[bool, typer.Option(help="Predict the fold's validation cases at the end.")]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON object on standard output, and nothing else there.")]
DatasetId = Annotated[int, typer.Option(min=1, max=999, help="Number of the data set in nnU-Net.")]


def main(argv: list[str] | None = None) -> None:
    """Run the command line; exit 0 when done, 2 for a user's mistake, 1 for a fault of ours."""
    # Threads of PyTorch that spin while they wait starve whatever else runs; it has to be set before the import.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    _show_warnings()
    arguments = _one_value_an_option(sys.argv[1:] if argv is None else argv)
    try:
        status = app(arguments, prog_name="nndistill", standalone_mode=False)
    except UserError as error:
        status = _fail(str(error))
    except _UsageError as error:
        context = f" See {error.ctx.command_path} --help." if error.ctx else ""
        status = _fail(error.format_message().rstrip(".") + "." + context)
    except typer.Exit as stop:
        status = stop.exit_code
    except (typer.Abort, KeyboardInterrupt):
        console.print("stopped; what was done is kept. Run it again to go on, with --resume where it has that.")
        status = 130
    except Exception:
        traceback.print_exc()
        console.print("this is a fault of nnDistill, not yours; please report it with the lines above.")
        status = 1
    sys.exit(status if isinstance(status, int) else 0)


@app.command()
def demo(
    workspace: Annotated[Path, typer.Option(help="Where everything is put; run again to go on after a stop.")] = Path(
        "nndistill-demo"
    ),
    device: Device = "auto",
    as_json: AsJson = False,
) -> None:
    """Make a phantom, train a teacher, distil it, and show what the student kept. Minutes on two cores."""
    from .demo import run_demo

    result = run_demo(workspace, device=device)
    if as_json:
        _print_json(result.numbers)
        return
    _show(readable_costs(result.costs).T, "What the networks cost")
    _show(result.dice.T, f"Dice on the {result.cases} held-out cases, mean ± SEM")
    print("A few hundred batches on made-up data: this shows the path, not the worth of a method.")
    print(f"\nFigure:  {result.figure}\nTables:  {result.tables}")
    for name, model in result.models.items():
        print(f"{name}:  {model}")
    print(
        "\nNow your own teacher, a folder of a trained nnU-Net:\n"
        "  nndistill complexity TEACHER_FOLDER\n  nndistill distill TEACHER_FOLDER --fold 0"
    )


@app.command()
def phantom(
    out: Annotated[Path, typer.Argument(help="Folder in which Dataset900_Phantom is made, such as nnUNet_raw.")],
    cases: Annotated[int, typer.Option(min=1, help="Training cases.")] = 20,
    test_cases: Annotated[int, typer.Option(min=0, help="Cases beside them, in imagesTs and labelsTs.")] = 0,
    seed: Annotated[int, typer.Option(min=0, help="The same seed gives the same data.")] = 0,
) -> None:
    """Make a BraTS-like multi-parametric MRI data set with fine structure."""
    from .datasets import generate_phantom

    with StepProgress("phantom") as report:
        folder = generate_phantom(out, cases=cases, test_cases=test_cases, seed=seed, progress=report)
    print(f"{folder} holds {cases} training and {test_cases} test cases.")
    print("Next, with that folder in nnUNet_raw: nndistill teach 900 --recipe quick")


@prepare.command()
def decathlon(
    source: Annotated[Path, typer.Argument(help="A task's folder, with its dataset.json.")],
    dataset_id: DatasetId,
    workspace: Workspace = None,
) -> None:
    """Any task of the Medical Segmentation Decathlon, 3D or 4D."""
    from .datasets import prepare_decathlon
    from .nnunet.workspace import raw_folder, use_workspace

    use_workspace(workspace)
    with StepProgress("checking and copying") as report:
        folder = prepare_decathlon(source, raw_folder(), dataset_id=dataset_id, progress=report)
    print(f"{folder} is ready.")
    print(f"Next: nndistill teach {dataset_id}{_workspace_option(workspace)}")


@app.command()
def teach(
    dataset: Annotated[str, typer.Argument(help="Name or number of a data set in nnUNet_raw.")],
    planner: Annotated[str, typer.Option(help="Experiment planner of nnU-Net.")] = "ResEncUNetPlanner",
    fold: Fold = "0",
    features: Features = None,
    recipe_name: RecipeName = "paper",
    epochs: Epochs = None,
    iterations: Iterations = None,
    learning_rate: LearningRate = None,
    batch_size: BatchSize = None,
    patch_size: Annotated[tuple[int, int, int] | None, typer.Option(help="Voxels: --patch-size 64 64 64.")] = None,
    seed: Seed = None,
    device: Device = "auto",
    gpus: Gpus = 1,
    name: Name = None,
    resume: Resume = False,
    validate: Validate = True,
    workspace: Workspace = None,
    as_json: AsJson = False,
) -> None:
    """Train a teacher on a small budget: plans, preprocesses, trains. A full one is stock nnUNetv2_train."""
    from .datasets import check_raw_dataset
    from .nnunet.preprocessing import plan_and_preprocess
    from .nnunet.teaching import prepare_teacher
    from .nnunet.workspace import dataset_folder, raw_folder, use_workspace

    use_workspace(workspace)
    recipe = _recipe(recipe_name, epochs=epochs, iterations=iterations, learning_rate=learning_rate, seed=seed)
    folder = dataset_folder(raw_folder(), dataset)
    check_raw_dataset(folder)
    plans_file = plan_and_preprocess(folder.name, planner=planner, processes=os.cpu_count() or 1)
    run = prepare_teacher(
        folder.name,
        plans_file,
        fold=fold,
        recipe=recipe,
        name=name,
        features=features,
        patch_size=patch_size,
        batch_size=batch_size,
        resume=resume,
    )
    _train(run, "teacher", device=device, gpus=gpus, validate=validate)
    next_step = f"nndistill distill {run.model_folder} --fold {fold}{_workspace_option(workspace)}"
    _report(run, validate=validate, as_json=as_json, next_step=next_step)


@app.command()
def distill(
    teacher_folder: Annotated[Path, typer.Argument(help="Model folder of a trained nnU-Net.")],
    fold: Fold = "0",
    method: Annotated[str, typer.Option(help="dcd, feature, or none: the student alone.")] = "dcd",
    option: Annotated[
        list[str] | None, typer.Option(help="An option of the method, such as --option bands=D; repeat for more.")
    ] = None,
    weight: Annotated[float | None, typer.Option(min=0, help="μ, instead of the recipe's.")] = None,
    reduction: Annotated[int, typer.Option(help="The teacher's channels are divided by this.")] = 4,
    features: Features = None,
    recipe_name: RecipeName = "paper",
    epochs: Epochs = None,
    iterations: Iterations = None,
    learning_rate: LearningRate = None,
    batch_size: BatchSize = None,
    seed: Seed = None,
    device: Device = "auto",
    gpus: Gpus = 1,
    teacher_fold: Annotated[str | None, typer.Option(help="Fold of the teacher's weights; default: --fold.")] = None,
    teacher_checkpoint: Annotated[
        str | None, typer.Option(help="Such as checkpoint_best.pth; default: the final one, or else the best.")
    ] = None,
    dataset_id: Annotated[int | None, typer.Option(help="Data set to train on; default: the teacher's.")] = None,
    name: Name = None,
    resume: Resume = False,
    validate: Validate = True,
    workspace: Workspace = None,
    as_json: AsJson = False,
) -> None:
    """Distil a teacher into a smaller student."""
    from .nnunet.distillation import prepare_student
    from .nnunet.workspace import use_workspace

    use_workspace(workspace)
    recipe = _recipe(
        recipe_name,
        epochs=epochs,
        iterations=iterations,
        learning_rate=learning_rate,
        seed=seed,
        distillation_weight=weight,
    )
    run = prepare_student(
        teacher_folder,
        fold=fold,
        recipe=recipe,
        method=method,
        method_options=_options(option or []),
        reduction=reduction,
        features=features,
        batch_size=batch_size,
        teacher_fold=teacher_fold,
        teacher_checkpoint=teacher_checkpoint,
        dataset=None if dataset_id is None else str(dataset_id),
        name=name,
        resume=resume,
    )
    _train(run, f"student ({method})", device=device, gpus=gpus, validate=validate)
    next_step = f"nnUNetv2_predict_from_modelfolder -m {run.model_folder} -f {fold} -i IMAGES -o OUTPUT"
    _report(run, validate=validate, as_json=as_json, next_step=next_step)


@app.command()
def complexity(
    plans_or_model: Annotated[Path, typer.Argument(help="A plans file beside its dataset.json, or a model folder.")],
    configuration: Annotated[str | None, typer.Option(help="Default: the 3D one.")] = None,
    reduction: Annotated[int, typer.Option(help="The channels are divided by this.")] = 4,
    features: Features = None,
    as_json: AsJson = False,
) -> None:
    """Parameters and FLOPs of a network and of its student, for a patch and for a whole case."""
    from .evaluation.costs import network_costs

    costs = network_costs(plans_or_model, configuration=configuration, reduction=reduction, features=features)
    if as_json:
        _print_json(costs.to_dict(orient="index"))
        return
    _show(readable_costs(costs).T, "What the networks cost")
    print(
        "\nFLOPs: convolutions, two a multiply-add. A case: the data set's median image under nnU-Net's sliding\n"
        "window (patches overlap by half), without mirroring, which multiplies it by up to eight."
    )


@app.command("trainer-path")
def trainer_path() -> None:
    """Print the folder to put into nnUNet_extTrainer, so that stock nnUNetv2_train finds nnDistill's trainers."""
    from .nnunet.run import TRAINERS

    print(TRAINERS)


def readable_costs(costs: pd.DataFrame) -> pd.DataFrame:
    """Give the table of `network_costs` units a person reads."""
    import pandas as pd

    return pd.DataFrame(
        {
            "channels": costs["features"].map(lambda f: ", ".join(map(str, f))),
            "patch": costs["patch"].map(lambda p: "×".join(map(str, p))),
            "parameters": costs["parameters"].map(lambda n: f"{n / 1e6:.3f} M"),
            "FLOPs a patch": costs["flops_patch"].map(lambda n: f"{n / 1e9:.1f} G"),
            "patches a case": costs["patches_case"],
            "FLOPs a case": costs["flops_case"].map(lambda n: f"{n / 1e9:.1f} G"),
        }
    )


def _recipe(name: str, **changes: Any) -> Recipe:
    from .recipes import load_recipe

    return load_recipe(name).adjusted(**changes)


def _options(given: list[str]) -> dict[str, Any]:
    options = {}
    for text in given:
        key, equals, value = text.partition("=")
        if not equals:
            raise UserError(f"--option {text} is not of the form NAME=VALUE.")
        options[key] = yaml.safe_load(value)
    return options


def _train(run: Run, title: str, *, device: str, gpus: int, validate: bool) -> None:
    from .nnunet.run import train

    with TrainingProgress(title) as progress:
        train(run, device=device, gpus=gpus, validate=validate, on_start=progress.start, on_iteration=progress.advance)


def _report(run: Run, *, validate: bool, as_json: bool, next_step: str) -> None:
    from .nnunet.scores import validation_scores
    from .reporting import dice_table

    scores = validation_scores(run.model_folder, run.fold).assign(model=run.plans_name) if validate else None
    if as_json:
        numbers = None if scores is None else scores.groupby("label")["dice"].agg(["mean", "sem", "count"])
        _print_json(
            {
                "model": str(run.model_folder),
                "fold": run.fold,
                "dice": None if numbers is None else numbers.to_dict(orient="index"),
            }
        )
        return
    if scores is not None:
        _show(dice_table(scores).T, f"Validation Dice of fold {run.fold}, mean ± SEM")
    print(f"\nModel: {run.model_folder}\nNext:  {next_step}")


def _show(frame: pd.DataFrame, title: str) -> None:
    table = Table(title=title, title_justify="left")
    for column in ["", *frame.columns]:
        table.add_column(str(column), overflow="fold")
    for name, row in frame.iterrows():
        table.add_row(str(name), *(str(value) for value in row))
    from rich import print as rich_print

    rich_print(table)


def _print_json(value: Any) -> None:
    print(json.dumps(value, indent=2, default=float))


def _workspace_option(workspace: Path | None) -> str:
    return f" --workspace {workspace}" if workspace else ""


def _one_value_an_option(arguments: list[str]) -> list[str]:
    """Rewrite `--features 16 32` as `--features 16 --features 32`, the only form that Click understands."""
    rewritten: list[str] = []
    option = None
    for argument, following in pairwise([*arguments, ""]):
        if argument in _LISTS and following.isdigit():
            option = argument
        elif option and argument.isdigit():
            rewritten += [option, argument]
        else:
            option = None
            rewritten.append(argument)
    return rewritten


def _show_warnings() -> None:
    package = logging.getLogger("nndistill")
    if not package.handlers:
        package.addHandler(RichHandler(console=console, show_time=False, show_path=False))


def _fail(sentence: str) -> int:
    print(f"error: {sentence}", file=sys.stderr)
    return 2
