"""What `nndistill study run` shows while the jobs of a study run."""

from __future__ import annotations

from collections.abc import Sequence

from ..progress import bar, console
from ..study import StudyRun
from ..study.places import DATA, StudyPlaces
from ..study.status import job_states


class StudyWatch:
    """A progress bar of the runs, to be called again and again; without a terminal, a line for every change.

    Args:
        places: Where the study's files are.
        runs: All runs of the study.
    """

    def __init__(self, places: StudyPlaces, runs: Sequence[StudyRun]) -> None:
        self._places, self._runs, self._bar = places, runs, bar()
        self._titles = {DATA: "data", **{run.name: run.title for run in runs}}
        self._task = self._bar.add_task("starting", total=len(runs))
        self._idle = "starting"
        self._told: dict[str, str] | None = None

    def __enter__(self) -> StudyWatch:
        return self

    def __exit__(self, *_: object) -> None:
        if self._told is not None:
            self()
            self._bar.stop()

    def __call__(self) -> None:
        states, done = job_states(self._places), dict.fromkeys(self._done(), "done")
        if self._told is None:
            self._bar.start()
            self._told = dict(done)
            self._say(f"{len(done)} of {len(self._runs)} runs are done; starting")
        running = [self._titles[name] for name, state in states.items() if state == "running" and name in self._titles]
        if running:
            self._idle = "waiting for the next run"
            more = f" and {len(running) - 1} more" if len(running) > 1 else ""
            text = running[0] + more
        else:
            text = "all done" if len(done) == len(self._runs) else self._idle
        self._bar.update(self._task, completed=len(done), description=text)
        for name, state in {**states, **done}.items():
            if name in self._titles and self._told.get(name) != state:
                self._told[name] = state
                self._say(f"{self._titles[name]}: {state}")

    def _done(self) -> list[str]:
        return [run.name for run in self._runs if (self._places.results / run.name / "run.json").is_file()]

    def _say(self, line: str) -> None:
        if not console.is_terminal:
            console.print(line, highlight=False, markup=False, soft_wrap=True)
