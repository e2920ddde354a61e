"""Processes that tests start, wait for and kill, with all that those have started."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable
from typing import Any

import psutil


def kill_with_children(process: subprocess.Popen[Any]) -> None:
    """End a process and everything that it started, at once and without a chance to tidy up."""
    try:
        found = psutil.Process(process.pid)
        every = [found, *found.children(recursive=True)]
    except psutil.NoSuchProcess:
        every = []
    for each in every:
        try:
            each.kill()
        except psutil.NoSuchProcess:
            continue
    psutil.wait_procs(every, timeout=30)
    process.wait()


def wait_until(condition: Callable[[], object], process: subprocess.Popen[Any], *, seconds: float = 900) -> bool:
    """Wait for something to happen while a process runs; return whether it happened before the process ended."""
    end = time.monotonic() + seconds
    while not condition():
        if process.poll() is not None:
            return bool(condition())
        assert time.monotonic() < end, "it never happened"
        time.sleep(0.01)
    return True
