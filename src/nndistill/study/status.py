"""How far a study is: the state of every run, the time spent, and an estimate of what remains."""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any, Literal, NamedTuple

import psutil

from ..errors import UserError
from ..files import read_json
from ..runtime.machine import processor_name
from .places import DATA, StudyPlaces
from .results import RunResult, read_results
from .runs import StudyRun

State = Literal["done", "running", "stopped", "failed", "missing"]


@dataclass(frozen=True)
class RunStatus:
    """The state of one run.

    Args:
        run: The run.
        state: `stopped` is a run that was begun and neither ended nor failed.
        seconds: Time of its training, if it is done.
        why: What went wrong, if it failed.
    """

    run: StudyRun
    state: State
    seconds: float | None = None
    why: str = ""


@dataclass(frozen=True)
class StudyStatus:
    """How far a study is.

    Args:
        runs: The state of every run.
        spent: Seconds of all trainings of the study that are done; a teacher that is given was trained before.
        remaining: Estimate of the seconds of all others, one after the other; `None` if no run of this kind is done.
    """

    runs: Sequence[RunStatus]
    spent: float
    remaining: float | None

    def count(self, state: State) -> int:
        """Number of runs in a state."""
        return sum(status.state == state for status in self.runs)

    @property
    def numbers(self) -> dict[str, Any]:
        """Everything as plain values, for JSON."""
        return {
            "runs": [
                {"name": s.run.name, "title": s.run.title, "state": s.state, "seconds": s.seconds, "why": s.why}
                for s in self.runs
            ],
            "spent_s": self.spent,
            "remaining_s": self.remaining,
        }


def study_status(places: StudyPlaces, runs: Sequence[StudyRun]) -> StudyStatus:
    """Find out how far a study is, from its results and from what its jobs say.

    The estimate of what remains is the median time of the runs of the same kind (teacher or student) that were made on
    this machine, or else on any.
    """
    said = _said(places)  # before the results, which a job keeps before it deletes what it says
    results = read_results([places.results], runs)
    statuses = [_status(run, said.get(run.name), results.get(run.name)) for run in runs]
    trained = [status for status in statuses if not status.run.is_given]
    times = [_typical(results, status.run) for status in trained if status.state != "done"]
    known = [seconds for seconds in times if seconds is not None]
    return StudyStatus(
        runs=statuses,
        spent=sum(status.seconds or 0.0 for status in trained),
        remaining=sum(known) if len(known) == len(times) else None,
    )


def job_states(places: StudyPlaces) -> dict[str, str]:
    """The state of every job that says one: `running`, or `failed`; one that is done says nothing any more."""
    return {name: str(said["state"]) for name, said in _said(places).items()}


class Failure(NamedTuple):
    """A job that failed or was killed: its name, what went wrong, and the last lines that it printed besides."""

    name: str
    why: str
    log: Sequence[str]


def failures(places: StudyPlaces, runs: Sequence[StudyRun]) -> list[Failure]:
    """What stopped the jobs that have no result; if no job says so, the last lines of the workflow itself."""
    said = _said(places)
    found = []
    for name in [DATA, *(run.name for run in runs)]:
        if name in said and (why := _why_ended(said[name])):
            log = [line for line in _last_lines(places.log(name)) if line != f"error: {why}"]
            found.append(Failure(name, why, log))
    return found or [Failure("snakemake", "no job could be started", _last_lines(places.log("snakemake")))]


def _last_lines(log: Path, number: int = 8) -> list[str]:
    return log.read_text(errors="replace").splitlines()[-number:] if log.is_file() else []


def _why_ended(said: Mapping[str, Any]) -> str:
    """Why a job has no result, from what it said; empty if it still runs."""
    if said["state"] == "failed":
        return str(said["why"])
    killed = "was killed, perhaps for lack of memory or at a time limit"
    if said["host"] != platform.node():
        return f"{killed}, or still runs on {said['host']}"
    return "" if is_alive(said) else killed


def _said(places: StudyPlaces) -> dict[str, dict[str, Any]]:
    """What the jobs say about themselves, by their names."""
    found = {}
    for file in sorted(places.work.glob("states/*.json")):
        with suppress(UserError):  # a job that ends deletes its file, perhaps before it is read here
            found[file.stem] = read_json(file)
    return found


def _status(run: StudyRun, said: Mapping[str, Any] | None, result: RunResult | None) -> RunStatus:
    if result is not None:
        return RunStatus(run, "done", float(result.facts["seconds"]))
    if said is None:
        return RunStatus(run, "missing")
    if said["state"] == "failed":
        return RunStatus(run, "failed", why=str(said["why"]))
    return RunStatus(run, "running" if is_alive(said) else "stopped")


def this_process(pid: int | None = None) -> dict[str, Any]:
    """What tells a process, by default this one, from a later one with the same number: its start, and the machine."""
    process = psutil.Process(pid)
    return {"pid": process.pid, "began": process.create_time(), "host": platform.node()}


def is_alive(said: Mapping[str, Any]) -> bool:
    """Whether a process of which `this_process` was kept is still there; on another machine, it is taken to be."""
    if said["host"] != platform.node():
        return True
    try:
        process = psutil.Process(said["pid"])
        return bool(process.create_time() == said["began"] and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def _typical(results: Mapping[str, RunResult], run: StudyRun) -> float | None:
    """Seconds that a run like this one takes."""
    trained = [result for result in results.values() if not result.run.is_given]
    like = [result for result in trained if (result.run.method is None) == (run.method is None)]
    here = [result for result in like if result.facts["machine"].get("processor") == processor_name()]
    return median(float(result.facts["seconds"]) for result in here or like) if like else None
