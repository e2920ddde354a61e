"""`nndistill study`: many trainings as one reproducible study."""

from __future__ import annotations

import logging
import re
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, get_args

import typer

from ...errors import UserError
from ...progress import console
from ..options import AsJson, Workspace
from ..output import print_json, show, show_rows

if TYPE_CHECKING:
    from ...study.definition import Resources
    from ...study.places import StudyPlaces
    from ...study.status import StudyStatus

logger = logging.getLogger(__name__)
study = typer.Typer(help="Train, evaluate and compare many students as one reproducible study.", no_args_is_help=True)

StudyFile = Annotated[Path, typer.Argument(metavar="STUDY.yaml", help="The study's file.")]


@study.command()
def init(
    name: Annotated[str, typer.Argument(help="brats2024, isles2022, decathlon or phantom.")],
    out: Annotated[Path, typer.Option(help="File to write, in a folder of its own.")] = Path("study/study.yaml"),
    dataset: Annotated[str | None, typer.Option(help="Name or number of the data set, for decathlon.")] = None,
) -> None:
    """Write the file of a study, to be read and changed."""
    from shlex import quote

    from ...study.init import write_study

    write_study(name, out, dataset=dataset)
    print(f"Study: {out}\nNext:  nndistill study run {quote(str(out))} --dry-run")


@study.command()
def run(
    file: StudyFile,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="List the trainings and stop.")] = False,
    jobs: Annotated[int, typer.Option(min=1, help="Trainings at a time.")] = 1,
    executor: Annotated[
        str, typer.Option(help="local, or an executor of Snakemake that is installed, such as slurm.")
    ] = "local",
    stop_after: Annotated[
        str | None, typer.Option(help="Stop after a time, such as 2h, 90m or 1h30m; the next call continues.")
    ] = None,
    replace: Annotated[
        bool,
        typer.Option("--replace", help="Redo runs whose results are of another setup; the old results are kept."),
    ] = False,
    workspace: Workspace = None,
    as_json: AsJson = False,
) -> None:
    """Train, predict and measure every run that has no result yet."""
    from shlex import quote

    from ...reporting.text.numbers import counted
    from ...study import load_study, study_runs, write_study_report
    from ...study.needed_data import refuse_missing_data
    from ...study.places import StudyPlaces
    from ...study.status import failures, study_status
    from ...study.workflow import run_study
    from ..study_watch import StudyWatch

    described, places = load_study(file), StudyPlaces(file)
    seconds = None if stop_after is None else _seconds(stop_after)
    workspace = workspace or _own_workspace(places)
    runs = study_runs(described, folder=places.folder)
    if dry_run:
        status = study_status(places, runs)
        if as_json:
            print_json({**status.numbers, "resources": described.resources.model_dump()})
        else:
            _show(status)
            _show_resources(described.resources)
        if status.count("done") < len(runs):
            try:
                refuse_missing_data(described, folder=places.folder, workspace=workspace)
            except UserError as missing:
                logger.warning("The study cannot run yet: %s", missing)
        return
    with StudyWatch(places, runs) as watch, _terminated_as_interrupted():
        outcome = run_study(
            described,
            places,
            workspace=workspace,
            jobs=jobs,
            executor=executor,
            stop_after=seconds,
            replace=replace,
            watch=watch,
        )
    if outcome.left and not outcome.stopped:
        for failure in failures(places, runs):
            console.print(f"{failure.name}: {failure.why}", *failure.log, sep="\n  ", markup=False, highlight=False)
    status = study_status(places, runs)
    page = (
        write_study_report(described, places).page
        if any(r.state == "done" and r.run.method and not r.run.is_pilot for r in status.runs)
        else None
    )
    if as_json:
        print_json({**status.numbers, "stopped": outcome.stopped, "report": None if page is None else str(page)})
    else:
        print(f"\nDone:   {len(outcome.done)} of {len(runs)} runs{', stopped as asked' if outcome.stopped else ''}")
        if page:
            print(f"Report: {page}")
        if outcome.left:
            print(f"Next:   nndistill study run {quote(str(file))}")
    if outcome.left and not outcome.stopped:
        have = f"{counted(len(outcome.left), 'run')} {'has' if len(outcome.left) == 1 else 'have'}"
        raise UserError(
            f"{have} no result; what is printed above says why. Fix that and run it again: what is done is kept."
        )


@study.command()
def status(file: StudyFile, as_json: AsJson = False) -> None:
    """Show what is done, running, failed and missing, and what remains."""
    from ...study import load_study, study_runs
    from ...study.places import StudyPlaces
    from ...study.status import study_status

    described, places = load_study(file), StudyPlaces(file)
    found = study_status(places, study_runs(described, folder=places.folder))
    if as_json:
        print_json(found.numbers)
    else:
        _show(found)


@study.command()
def report(
    file: StudyFile,
    results: Annotated[
        list[Path] | None, typer.Option(help="Further folder of results of this study. Repeat the option for more.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Write tables, statistics, figures and the page from the results that are there."""
    from ...study import load_study, write_study_report
    from ...study.definition import TableName
    from ...study.places import StudyPlaces

    for folder in results or []:
        if not folder.is_dir():
            raise UserError(f"{folder} is not a folder of results.", option="results")
    written = write_study_report(load_study(file), StudyPlaces(file), results=results or [])
    if as_json:
        print_json(
            {
                "page": str(written.page),
                "missing": list(written.missing),
                "tables": {name: table.records for name, table in written.tables.items()},
            }
        )
        return
    shown = next(written.tables[name] for name in get_args(TableName) if name in written.tables)
    show(shown.texts, "Mean of labels ± SD between seeds")
    print(f"\nReport: {written.page}")


@study.command(hidden=True)
def job(
    file: StudyFile,
    name: Annotated[str, typer.Argument(help="Name of a run, or `data`.")],
    workspace: Workspace = None,
) -> None:
    """Carry out one job of a study, as its workflow does."""
    from ...nnunet.training.across_processes import is_first
    from ...nnunet.training.launched import joined
    from ...nnunet.workspace import use_workspace
    from ...progress import TrainingProgress
    from ...study import load_study
    from ...study.job import carry_out
    from ...study.places import StudyPlaces

    use_workspace(workspace)
    described, places = load_study(file), StudyPlaces(file)
    with joined(described.device):
        if not is_first():
            carry_out(described, places, name)
            return
        with TrainingProgress(name) as progress:
            carry_out(
                described,
                places,
                name,
                on_start=progress.start,
                on_iteration=progress.advance,
                on_validation=progress.validate,
            )


@contextmanager
def _terminated_as_interrupted() -> Iterator[None]:
    """Let SIGTERM, from `kill` or a scheduler, stop a study as Ctrl-C does: with its trainings."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _own_workspace(places: StudyPlaces) -> Path | None:
    """The study's own workspace if nnU-Net's folders are not set."""
    import os

    return None if os.environ.get("nnUNet_raw") else places.work / "workspace"


def _seconds(text: str) -> float:
    """`1h30m` in seconds."""
    match = re.fullmatch(r"(?:(\d+(?:\.\d+)?)h)?(?:(\d+(?:\.\d+)?)m)?(?:(\d+(?:\.\d+)?)s)?", text)
    if not text or match is None:
        raise UserError(f"{text!r} is no time; write it as 2h, 90m or 1h30m.", option="stop_after")
    hours, minutes, seconds = (float(part or 0) for part in match.groups())
    return 3600 * hours + 60 * minutes + seconds


def _show(status: StudyStatus) -> None:
    from ...study.status import State

    states = ["given" if each.run.is_given and each.state == "missing" else each.state for each in status.runs]
    rows = {each.run.title: [state, _time(each.seconds)] for each, state in zip(status.runs, states, strict=True)}
    show_rows(["State", "Time"], rows, "Runs")
    counts = ", ".join(f"{n} {state}" for state in (*get_args(State), "given") if (n := states.count(state)))
    remaining = "not known before one run of each kind is done" if status.remaining is None else _time(status.remaining)
    print(f"\n{len(status.runs)} runs: {counts}. Time spent: {_time(status.spent)}; remaining: {remaining}.")
    for each in status.runs:
        if each.why:
            print(f"{each.run.name}: {each.why}")


def _show_resources(resources: Resources) -> None:
    from ...reporting.text.numbers import counted

    used = [counted(resources.cpus, "core"), *([counted(resources.gpus, "GPU")] if resources.gpus else [])]
    used.append(f"{resources.memory_gb:g} GB")
    print(f"Each training may use {', '.join(used)} and {counted(resources.hours, 'hour')}.")


def _time(seconds: float | None) -> str:
    from ...nnunet.models.history import duration

    return "–" if seconds is None else duration(seconds)
