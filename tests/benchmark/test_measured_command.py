"""A command's memory is that of all its processes, and what they share counts once."""

from __future__ import annotations

import sys

import pytest

from nndistill.benchmark.measured_command import measure_command
from nndistill.errors import UserError

MEGABYTES = 10**6
SIZE = 120 * MEGABYTES
TOUCHED = f"import os, subprocess, sys, time; held = bytearray(os.urandom(1)) * {SIZE};"


def _measure(code: str):
    return measure_command([sys.executable, "-c", code], environment={})


def test_memory_that_processes_share_counts_once() -> None:
    alone = _measure(f"{TOUCHED} time.sleep(0.5)").memory_bytes
    # a look that falls into the fork itself sees the parent before it and the child after it
    forked = min(_measure(f"{TOUCHED} os.fork(); time.sleep(0.5)").memory_bytes for _ in range(3))
    assert SIZE < alone < SIZE + 40 * MEGABYTES
    assert forked == pytest.approx(alone, abs=20 * MEGABYTES)


def test_memory_of_processes_that_a_command_starts_is_added() -> None:
    child = f"[sys.executable, '-c', {TOUCHED + ' time.sleep(0.8)'!r}]"
    both = _measure(f"{TOUCHED} subprocess.run({child})").memory_bytes
    assert both > 2 * SIZE


def test_seconds_are_from_start_to_end() -> None:
    assert 0.4 < _measure("import time; time.sleep(0.4)").seconds < 2


def test_variables_reach_the_command() -> None:
    measure_command(
        [sys.executable, "-c", "import os; assert os.environ['COLOUR'] == 'red'"], environment={"COLOUR": "red"}
    )


def test_failed_command_is_a_sentence_with_the_last_line_that_it_printed() -> None:
    with pytest.raises(UserError, match="failed with status 3: the disk is full"):
        _measure("import sys; print('begun'); print('the disk is full', file=sys.stderr); sys.exit(3)")
