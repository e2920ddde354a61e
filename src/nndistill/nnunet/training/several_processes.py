"""A training in several processes on this machine, one per GPU, watched by the process that starts them."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.process import BaseProcess
from multiprocessing.queues import SimpleQueue
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import torch
from torch import distributed
from torch.multiprocessing.spawn import ProcessException, start_processes

from ...errors import UserError
from .one_process import Observers, train_here
from .tracking import stop_tracking

if TYPE_CHECKING:
    from .run import Run

_SECONDS_BETWEEN_LOOKS = 0.1
_SECONDS_TO_END = 30


@dataclass(frozen=True)
class Task:
    """What each process does."""

    run: Run
    device: torch.device
    validate: bool
    processes: int
    meeting: Path
    """A file that does not exist, by which the processes find each other."""


def train_together(
    run: Run,
    device: torch.device,
    *,
    processes: int,
    validate: bool,
    observers: Observers,
) -> None:
    """Train a run in several processes to its end; if one fails, the others are ended.

    Args:
        run: What to train.
        device: Kind of the devices that compute, one per process.
        processes: Number of them.
        validate: Whether to predict the validation cases.
        observers: What to call, in this process, with what the first process reports.

    Raises:
        UserError: A process ended with it.
        ProcessException: A process failed; the message has its traceback if it left one.
    """
    reports = get_context("spawn").SimpleQueue()
    watch = _Watch(observers)
    with TemporaryDirectory() as folder:
        task = Task(run, device, validate, processes, Path(folder) / "meeting")
        started = start_processes(  # type: ignore[no-untyped-call]
            take_part, (task, reports), nprocs=processes, join=False, start_method="spawn"
        )
        try:
            done = False
            while not done:
                done = started.join(timeout=_SECONDS_BETWEEN_LOOKS)
                watch.take_all(reports)
        except ProcessException:
            watch.take_all(reports)
            if watch.mistake is not None:
                raise watch.mistake from None
            raise
        finally:
            _end(started.processes)


def take_part(rank: int, task: Task, reports: SimpleQueue[Any]) -> None:
    """What one process does: train with the others; the first reports how it goes."""
    on_gpus = task.device.type == "cuda"
    if on_gpus:
        torch.cuda.set_device(rank)
    distributed.init_process_group(
        "nccl" if on_gpus else "gloo", init_method=task.meeting.as_uri(), rank=rank, world_size=task.processes
    )
    package = logging.getLogger("nndistill")
    package.propagate = False
    package.addHandler(_Reporter(reports) if rank == 0 else logging.NullHandler())
    if rank > 0:
        stop_tracking()
    package.setLevel(logging.INFO)
    observers = Observers(
        on_start=lambda batches: reports.put(("on_start", batches)),
        on_iteration=lambda state: reports.put(("on_iteration", state)),
        on_preparation=lambda done, total: reports.put(("on_preparation", done, total)),
        on_validation=lambda: reports.put(("on_validation",)),
    )
    try:
        train_here(
            task.run,
            task.device,
            validate=task.validate,
            observers=observers if rank == 0 else Observers(),
            rank=rank,
        )
    except UserError as error:
        reports.put(("mistake", error))
        raise SystemExit(1) from error
    distributed.destroy_process_group()


def _end(processes: Sequence[BaseProcess]) -> None:
    """End what still runs, even a process that waits on its GPU for another one and does not listen."""
    for process in processes:
        process.terminate()
    for process in processes:
        process.join(_SECONDS_TO_END)
        if process.is_alive():
            process.kill()
            process.join()


class _Reporter(logging.Handler):
    """Passes what is logged on to the process that watches."""

    def __init__(self, reports: SimpleQueue[Any]) -> None:
        super().__init__()
        self._reports = reports

    def emit(self, record: logging.LogRecord) -> None:
        self._reports.put(("log", record.name, record.levelno, record.getMessage()))


class _Watch:
    """Takes what processes report, and calls the observers."""

    def __init__(self, observers: Observers) -> None:
        self.mistake: UserError | None = None
        self._actions: dict[str, Callable[..., None]] = {
            "on_start": observers.on_start,
            "on_iteration": observers.on_iteration,
            "on_preparation": observers.on_preparation,
            "on_validation": observers.on_validation,
            "log": lambda name, level, message: logging.getLogger(name).log(level, "%s", message),
            "mistake": self._keep,
        }

    def take_all(self, reports: SimpleQueue[Any]) -> None:
        while not reports.empty():
            kind, *values = reports.get()
            self._actions[kind](*values)

    def _keep(self, mistake: UserError) -> None:
        self.mistake = self.mistake or mistake
