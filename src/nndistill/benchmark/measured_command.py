"""A command with the processes it starts: seconds from start to end, and the most memory that they hold together."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryFile

import psutil

from ..errors import UserError

INTERVAL = 0.05
"""Seconds between two readings of the memory."""


@dataclass(frozen=True)
class MeasuredCommand:
    """What one run of a command took.

    Args:
        seconds: From its start to its end.
        memory_bytes: The greatest sum of the proportional set sizes (PSS) of its processes: memory that several of
            them share counts once.
    """

    seconds: float
    memory_bytes: int


def measure_command(command: Sequence[str | Path], *, environment: Mapping[str, str]) -> MeasuredCommand:
    """Run a command to its end.

    Args:
        command: Program and arguments.
        environment: Variables that it gets in addition to those of this process.

    Raises:
        UserError: The command failed; the message ends with the last line that it printed.
    """
    with TemporaryFile() as printed:
        start = time.perf_counter()
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=printed,
            stderr=printed,
            env={**os.environ, **environment},
            start_new_session=True,
        )
        watch = _MemoryWatch(process.pid)
        try:
            status = process.wait()
            seconds = time.perf_counter() - start
        finally:
            watch.stop()
            with suppress(ProcessLookupError):  # all have ended
                os.killpg(process.pid, signal.SIGKILL)
        if status:
            printed.seek(0)
            lines = printed.read().decode(errors="replace").strip().splitlines() or ["it printed nothing"]
            raise UserError(f"{Path(command[0]).name} failed with status {status}: {lines[-1]}")
    return MeasuredCommand(seconds, watch.peak)


class _MemoryWatch(threading.Thread):
    """Reads the memory of a process and its descendants until it is stopped."""

    def __init__(self, pid: int) -> None:
        super().__init__(daemon=True)
        self.peak = 0
        self._process = psutil.Process(pid)
        self._stopped = threading.Event()
        self.start()

    def run(self) -> None:
        while not self._stopped.wait(INTERVAL):
            try:
                family = [self._process, *self._process.children(recursive=True)]
            except psutil.NoSuchProcess:
                return
            self.peak = max(self.peak, sum(map(_memory, family)))

    def stop(self) -> None:
        self._stopped.set()
        self.join()


def _memory(process: psutil.Process) -> int:
    try:
        return int(process.memory_full_info().pss)
    except psutil.Error:  # it ended meanwhile
        return 0
