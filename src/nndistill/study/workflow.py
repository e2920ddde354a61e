"""Carry out a study with Snakemake: on this machine, or through one of its executors on a cluster."""

from __future__ import annotations

import os
import platform
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from shutil import which
from typing import Any

from filelock import FileLock, Timeout

from ..errors import UserError
from ..files import read_json, write_json
from .definition import Study
from .needed_data import refuse_missing_data
from .places import DATA, StudyPlaces
from .results import is_done, other_setups, some_names
from .runs import StudyRun, study_runs
from .sbatch import write_sbatch
from .status import is_alive, this_process

_GRACE = 30.0
"""Seconds that jobs have to stop before they are killed; what a kill loses is what follows the last checkpoint."""


@dataclass(frozen=True)
class Outcome:
    """How carrying out a study ended.

    Args:
        done: Names of the runs that have a result.
        left: Names of those that have none.
        stopped: Whether the time was up.
    """

    done: Sequence[str]
    left: Sequence[str]
    stopped: bool


def run_study(
    study: Study,
    places: StudyPlaces,
    *,
    workspace: Path | None = None,
    jobs: int = 1,
    executor: str = "local",
    stop_after: float | None = None,
    replace: bool = False,
    watch: Callable[[], None] = lambda: None,
) -> Outcome:
    """Train, predict and measure all runs that have no result yet; one that fails does not stop the others.

    Args:
        study: The study.
        places: Where its files are.
        workspace: As in `nndistill distill`; default: nnU-Net's environment variables.
        jobs: Number of trainings at a time.
        executor: `local`, or the executor of a plugin of Snakemake, such as `slurm`.
        stop_after: Seconds after which everything is stopped; the next call continues.
        replace: Redo runs whose results are of another setup; those results are moved, not deleted.
        watch: Called every second, to show how far the runs are.

    Raises:
        UserError: Snakemake or its executor is not installed, results are of another setup, the data are not there,
            or this study is being carried out already.
    """
    runs = study_runs(study, folder=places.folder)
    if not replace:
        _refuse_other_setups(places, runs)
    missing = [run for run in runs if not is_done([places.results], run)]
    if not missing:
        return Outcome([run.name for run in runs], [], stopped=False)
    refuse_missing_engine(executor)
    refuse_missing_data(study, folder=places.folder, workspace=workspace)
    places.work.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(places.work / "study.lock", timeout=0):
            _refuse_running_workflow(places)
            if replace:
                _move_other_setups(places, runs)
            command = _job_command(places, workspace)
            write_json(places.jobs, jobs_of(study, places, missing, command=command))
            if executor == "slurm":
                write_sbatch(places.sbatch, study.resources, command)
            for name in [DATA, *(run.name for run in missing)]:
                places.state(name).unlink(missing_ok=True)
            stopped = _run(_command(places, jobs=jobs, executor=executor), places, stop_after, watch)
    except Timeout:
        raise UserError(f"this study is being carried out by another process: {places.folder}.") from None
    left = [run.name for run in runs if not is_done([places.results], run)]
    return Outcome([run.name for run in runs if run.name not in left], left, stopped)


def jobs_of(
    study: Study, places: StudyPlaces, missing: Sequence[StudyRun], *, command: Sequence[str]
) -> dict[str, Any]:
    """What the workflow has to know: the runs without a result, what each needs, and what each may use."""
    done = {name: places.done(name).resolve() for name in [DATA, *(run.name for run in missing)]}
    for file in done.values():  # of an earlier workflow; what is done, results say
        file.unlink(missing_ok=True)
    resources = study.resources
    return {
        "command": shlex.join(command),
        "cpus": resources.cpus,
        "gpus": resources.gpus,
        "mem_mb": round(1000 * resources.memory_gb),
        "minutes": round(60 * resources.hours),
        "data": str(done[DATA]),
        "data_log": str(places.log(DATA).resolve()),
        "runs": {
            run.name: {
                "rule": f"{number}_{''.join(c if c.isalnum() else '_' for c in run.name)}",
                "needs": [str(done[name]) for name in [DATA, *run.needs] if name in done],
                "done": str(done[run.name]),
                "log": str(places.log(run.name).resolve()),
            }
            for number, run in enumerate(missing)
        },
    }


def _job_command(places: StudyPlaces, workspace: Path | None) -> list[str]:
    """The command that carries out a job, without the job's name."""
    command = [sys.executable, "-m", "nndistill", "study", "job", str(places.file.resolve())]
    return [*command, "--workspace", str(workspace.resolve())] if workspace else command


def refuse_missing_engine(executor: str) -> None:
    """Refuse to start without Snakemake or the plugin of its executor.

    Raises:
        UserError: One of them is not installed.
    """
    if find_spec("snakemake") is None:
        raise UserError(
            "a study needs Snakemake, which is not installed: pip install '.[study]' in nnDistill's repository, with "
            "Python 3.11 or later"
        )
    plugin = f"snakemake-executor-plugin-{executor}"
    if executor != "local" and find_spec(plugin.replace("-", "_")) is None:
        raise UserError(f"the executor {executor!r} is not installed: pip install {plugin}", option="executor")
    if executor == "slurm" and which("sbatch") is None:
        raise UserError("there is no Slurm on this machine: the command sbatch is missing.", option="executor")


def _refuse_running_workflow(places: StudyPlaces) -> None:
    """Refuse to start a second workflow: a kill of the command leaves the one that it has started."""
    if places.workflow.is_file() and is_alive(said := read_json(places.workflow)):
        where = "" if said["host"] == platform.node() else f" on {said['host']}"
        raise UserError(
            f"an earlier call of this study was killed, but its workflow still runs (process {said['pid']}{where}) and "
            f"trains; wait until it ends, or end it. If it is not there, delete {places.workflow}."
        )


def _refuse_other_setups(places: StudyPlaces, runs: Sequence[StudyRun]) -> None:
    if found := other_setups([places.results], runs):
        raise UserError(
            f"{len(found)} results in {places.results} are of another setup than the study now describes: "
            f"{some_names(found)}. Change the study back, or have them redone, which keeps the present ones in "
            f"{places.replaced}.",
            option="replace",
        )


def _move_other_setups(places: StudyPlaces, runs: Sequence[StudyRun]) -> None:
    for folder in other_setups([places.results], runs):
        place = places.replaced / f"{folder.name}_{time.strftime('%Y%m%d-%H%M%S')}"
        place.parent.mkdir(parents=True, exist_ok=True)
        folder.rename(place)


def _command(places: StudyPlaces, *, jobs: int, executor: str) -> list[str]:
    command = [sys.executable, "-m", "snakemake", "--snakefile", str(Path(__file__).parent / "Snakefile")]
    command += ["--directory", str(places.work.resolve()), "--config", f"jobs={places.jobs.resolve()}"]
    command += ["--keep-going", "--nolock", "--rerun-triggers", "mtime", "--scheduler", "greedy"]
    if executor == "local":
        return [*command, "--cores", "all", "--resources", f"trainings={jobs}", "--default-resources", "trainings=1"]
    return [*command, "--executor", executor, "--jobs", str(jobs)]


def _run(command: Sequence[str], places: StudyPlaces, stop_after: float | None, watch: Callable[[], None]) -> bool:
    """Run Snakemake until it ends or the time is up; return whether the time was up."""
    end = None if stop_after is None else time.monotonic() + stop_after
    places.log("snakemake").parent.mkdir(parents=True, exist_ok=True)
    with places.log("snakemake").open("w") as log:
        process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, start_new_session=True)
        try:
            write_json(places.workflow, this_process(process.pid))
            while process.poll() is None and (end is None or time.monotonic() < end):
                watch()
                time.sleep(1)
        finally:
            stopped = process.poll() is None
            if stopped:
                _stop(process)
            places.workflow.unlink(missing_ok=True)
    watch()
    return stopped


def _stop(process: subprocess.Popen[bytes]) -> None:
    """Stop Snakemake and everything that it started; trainings can continue from their last checkpoints."""
    os.killpg(process.pid, signal.SIGTERM)
    try:
        process.wait(_GRACE)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
