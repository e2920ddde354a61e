"""Memory that is freed stays with the process: no page faults after the first few steps, and never an error."""

from __future__ import annotations

import ctypes
import os
import platform
import subprocess
import sys

import pytest

from nndistill import freed_memory
from nndistill.freed_memory import keep_freed_memory

glibc = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc gives large blocks back")

STEPS = """
import resource
import torch
from nndistill.freed_memory import keep_freed_memory

network = torch.nn.Sequential(torch.nn.Conv3d(1, 4, 1), torch.nn.LeakyReLU(), torch.nn.Conv3d(4, 1, 1))
image = torch.zeros(1, 1, 128, 128, 128)  # blocks of 8 to 32 MiB

def fewest_faults(steps):
    counts = []
    for _ in range(steps):
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        network(image).mean().backward()
        counts.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
    return min(counts)

without = fewest_faults(3)
assert keep_freed_memory()
print(without, fewest_faults(12))  # in the first of them the heap grows until every block has found its place
"""


@glibc
def test_steps_of_a_training_fault_no_pages_in_once_freed_memory_is_kept():
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("MALLOC_", "GLIBC_"))}
    done = subprocess.run([sys.executable, "-c", STEPS], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    without, kept = map(int, done.stdout.split())
    assert kept < without / 20


@pytest.mark.parametrize(
    ("variable", "value"),
    [("MALLOC_TRIM_THRESHOLD_", "1000000"), ("MALLOC_MMAP_MAX_", "9"), ("GLIBC_TUNABLES", "glibc.malloc.mmap_max=9")],
)
def test_what_the_user_has_set_is_left(monkeypatch, variable, value):
    monkeypatch.setattr(freed_memory, "_mallopt", lambda: pytest.fail("the allocator was changed"))
    monkeypatch.setenv(variable, value)
    assert not keep_freed_memory()


def test_another_c_library_is_left_as_it_is(monkeypatch):
    monkeypatch.setattr(ctypes, "CDLL", lambda name: object())  # musl and macOS have no mallopt
    assert not keep_freed_memory()


def test_without_a_c_library_nothing_happens(monkeypatch):
    def refuse(name):
        raise TypeError("bad argument type for built-in operation")  # as on Windows

    monkeypatch.setattr(ctypes, "CDLL", refuse)
    assert not keep_freed_memory()
