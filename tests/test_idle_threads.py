"""Idle threads of OpenMP sleep soon, unless the user has decided something else."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from documented import REPOSITORY
from nndistill.idle_threads import LOOKS, idle_threads_sleep

NAMES = tuple(idle_threads_sleep({}))
COMMAND = """
import os, sys
from nndistill.cli import application
application.app = lambda *a, **k: print("torch" in sys.modules, *(os.environ.get(name) for name in %r))
application.main(["recipes"])
"""


def seen_by_the_command(environment: dict[str, str]) -> list[str]:
    clean = {name: value for name, value in os.environ.items() if name not in NAMES}
    done = subprocess.run(
        [sys.executable, "-c", COMMAND % (NAMES,)],
        env=clean | environment,
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.split()


def test_the_command_decides_before_pytorch_is_loaded() -> None:
    assert seen_by_the_command({}) == ["False", "PASSIVE", str(LOOKS)]


def test_make_benchmark_measures_with_what_the_command_sets() -> None:
    makefile = (REPOSITORY / "Makefile").read_text(encoding="utf-8")
    for name, value in idle_threads_sleep({}).items():
        assert f"benchmark: export {name} ?= {value}\n" in makefile


@pytest.mark.parametrize(("name", "value"), [("OMP_WAIT_POLICY", "ACTIVE"), ("GOMP_SPINCOUNT", "7")])
def test_what_the_user_has_set_is_left(name: str, value: str) -> None:
    expected = {"OMP_WAIT_POLICY": "None", "GOMP_SPINCOUNT": "None"} | {name: value}
    assert seen_by_the_command({name: value}) == ["False", *expected.values()]
    assert idle_threads_sleep({name: value}) == {}
