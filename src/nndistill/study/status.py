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
        spent: Seconds of all trainings that are done.
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
    results = read_results([places.results], runs)
    statuses = [_status(places, run, results.get(run.name)) for run in runs]
    times = [_typical(results, run) for run in (s.run for s in statuses if s.state != "done")]
    known = [seconds for seconds in times if seconds is not None]
    return StudyStatus(
        runs=statuses,
        spent=sum(status.seconds or 0.0 for status in statuses),
        remaining=sum(known) if len(known) == len(times) else None,
    )


def job_states(places: StudyPlaces) -> dict[str, str]:
    """The state of every job that says one: `running`, or `failed`; one that is done says nothing any more."""
    states = {}
    for file in sorted(places.work.glob("states/*.json")):
        with suppress(UserError):  # a job that ends deletes its file, perhaps before it is read here
            states[file.stem] = str(read_json(file)["state"])
    return states


class Failure(NamedTuple):
    """A job that failed: its name, what went wrong, and the last lines that it printed besides."""

    name: str
    why: str
    log: Sequence[str]


def failures(places: StudyPlaces, runs: Sequence[StudyRun]) -> list[Failure]:
    """What stopped the jobs that have no result; if no job says so, the last lines of the workflow itself."""
    found = []
    for name in [DATA, *(run.name for run in runs)]:
        if places.state(name).is_file() and (said := read_json(places.state(name)))["state"] == "failed":
            why = str(said["why"])
            log = [line for line in _last_lines(places.log(name)) if line != f"error: {why}"]
            found.append(Failure(name, why, log))
    return found or [Failure("snakemake", "no job could be started", _last_lines(places.log("snakemake")))]


def _last_lines(log: Path, number: int = 8) -> list[str]:
    return log.read_text(errors="replace").splitlines()[-number:] if log.is_file() else []


def _status(places: StudyPlaces, run: StudyRun, result: RunResult | None) -> RunStatus:
    if result is not None:
        return RunStatus(run, "done", float(result.facts["seconds"]))
    file = places.state(run.name)
    if not file.is_file():
        return RunStatus(run, "missing")
    said = read_json(file)
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
    like = [result for result in results.values() if (result.run.method is None) == (run.method is None)]
    here = [result for result in like if result.facts["machine"].get("processor") == processor_name()]
    return median(float(result.facts["seconds"]) for result in here or like) if like else None
