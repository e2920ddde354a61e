"""Progress on the terminal: a bar with the remaining time, or one line per epoch if there is no terminal."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

console = Console(stderr=True)


def bar() -> Progress:
    """A progress bar on standard error, for use in a `with` statement."""
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=16),
        MofNCompleteColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        console=console,
    )


class StepProgress:
    """Progress of a step with known parts: `with StepProgress("phantom") as report: report(done, total)`."""

    def __init__(self, title: str) -> None:
        self._title = title
        self._bar = bar()

    def __enter__(self) -> Callable[[int, int], None]:
        self._bar.start()
        task = self._bar.add_task(self._title, total=None)
        return lambda done, total: self._bar.update(task, completed=done, total=total)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._bar.stop()


class PredictionProgress:
    """Progress of a batch of cases: one bar, and a line for each case that fails or has a remark.

    Without a terminal, every case has a line.

    Args:
        cases: Number of cases.
    """

    def __init__(self, cases: int) -> None:
        self._bar = bar()
        self._task = self._bar.add_task("reading", total=cases)
        self._shares: dict[str, float] = {}

    def __enter__(self) -> PredictionProgress:
        self._bar.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._bar.stop()

    def windows(self, case: str, done: int, total: int) -> None:
        """Count the windows of a case as a share of it, so that the remaining time is known early."""
        self._advance(case, 0.99 * done / max(total, 1), description=f"{case}, window {done}/{total}")

    def settled(self, case: str, outcome: str, how: Mapping[str, Any]) -> None:
        """Count a case that is done, was kept or has failed."""
        self._advance(case, 1)
        if outcome == "failed":
            console.print(f"[red]{escape(case)}:[/] {escape(how['failed'])}", highlight=False, soft_wrap=True)
        elif not console.is_terminal:
            seconds = f" in {sum(how['seconds'].values()):.1f} s" if outcome == "done" else ""
            console.print(f"{escape(case)}: {outcome}{seconds}", highlight=False, soft_wrap=True)
        if "remark" in how:
            console.print(f"[yellow]{escape(case)}:[/] {escape(how['remark'])}", highlight=False, soft_wrap=True)

    def _advance(self, case: str, share: float, **fields: Any) -> None:
        self._shares[case] = share
        self._bar.update(self._task, completed=sum(self._shares.values()), **fields)


@dataclass(frozen=True)
class TrainingState:
    """How far a training is.

    Args:
        current_epoch: Counted from 0.
        num_epochs: Epochs of the whole training.
        loss: Mean of the last epoch; `None` in the first.
        dice: Of the last epoch's validation, likewise.
    """

    current_epoch: int
    num_epochs: int
    loss: float | None
    dice: float | None


class TrainingProgress:
    """Progress of a training: pass its methods to `nndistill.nnunet.training.run.train`.

    Args:
        title: Name of what is trained.
    """

    def __init__(self, title: str) -> None:
        self._title = title
        self._bar = bar()
        self._task = self._bar.add_task(title, total=None)
        self._validation: TaskID | None = None
        self._epoch = -1

    def __enter__(self) -> TrainingProgress:
        self._bar.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._validation is not None:
            self._bar.remove_task(self._validation)
        self._bar.stop()

    def start(self, batches: int) -> None:
        """Set the number of batches that remain."""
        self._bar.update(self._task, total=batches)

    def prepare(self, done: int, total: int) -> None:
        """Show how much of what the method learns from the teacher before the training is done."""
        state = f"learning from the teacher, {done}/{total}"
        self._bar.update(self._task, description=state)
        if not console.is_terminal and done % max(1, total // 10) == 0:
            console.print(f"{self._title}: {state}", highlight=False)

    def advance(self, state: TrainingState) -> None:
        """Count one batch."""
        self._bar.update(self._task, advance=1)
        if state.current_epoch != self._epoch:
            self._epoch = state.current_epoch
            self._describe(state)

    def validate(self) -> None:
        """Show that the training is over and its validation cases are predicted, which may take minutes."""
        state = "predicting the validation cases"
        self._validation = self._bar.add_task(state, total=None)
        if not console.is_terminal:
            console.print(f"{self._title}: {state}", highlight=False)

    def _describe(self, state: TrainingState) -> None:
        description = f"epoch {state.current_epoch + 1}/{state.num_epochs}"
        if state.loss is not None and state.dice is not None:
            description += f", loss {state.loss:.2f}, Dice {state.dice:.2f}"
        self._bar.update(self._task, description=description)  # without the title, to fit 80 columns
        if not console.is_terminal:
            console.print(f"{self._title}: {description}", highlight=False)
