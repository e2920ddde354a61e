"""What several test folders share: a way to call the command line, and a place for real data."""

from __future__ import annotations

import multiprocessing.context
import os
from dataclasses import dataclass
from multiprocessing.pool import ThreadPool
from pathlib import Path

import pytest
import torch
from hypothesis import settings

from nndistill.cli import main
from nndistill.idle_threads import idle_threads_sleep

pytest_plugins = ["trained_world", "small_exports", "nifti_files", "small_challenges", "small_studies", "extensions"]

# One process at a time trains here, and threads that spin while they wait slow down whatever else runs on the machine.
os.environ.update(idle_threads_sleep(os.environ))
# Each process that nnU-Net starts for a handful of small cases takes ten seconds to import it. In a test's own process
# threads work instead of pools; the commands that tests start have nnU-Net's processes.
os.environ.setdefault("nnUNet_def_n_proc", "1")
multiprocessing.context.SpawnContext.Pool = lambda _, processes=None: ThreadPool(processes)  # type: ignore[method-assign]

# Triton reads it when it is imported, which several libraries do.
if not torch.cuda.is_available():
    os.environ.setdefault("TRITON_INTERPRET", "1")

# How long an example takes says how busy the machine is, not whether a law holds.
settings.register_profile("without a deadline", deadline=None)
settings.load_profile("without a deadline")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what needs the tiny trained workspace, by whichever fixture, as training."""
    for item in items:
        if "_made_once" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.training)


@dataclass(frozen=True)
class Finished:
    """How a command ended."""

    status: int
    out: str
    err: str


@pytest.fixture
def nndistill(capfd: pytest.CaptureFixture[str]):
    """Call the command line in this process: `nndistill("distill", folder, "--fold", 0)`."""

    def call(*arguments: object) -> Finished:
        capfd.readouterr()
        with pytest.raises(SystemExit) as stop:
            main([str(argument) for argument in arguments])
        captured = capfd.readouterr()
        return Finished(status=int(stop.value.code or 0), out=captured.out, err=" ".join(captured.err.split()))

    return call


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real MRI that NNDISTILL_DATA names."""
    folder = os.environ.get("NNDISTILL_DATA")
    if not folder or not Path(folder).is_dir():
        pytest.skip("NNDISTILL_DATA names no folder of real MRI (see docs/how-to/datasets.md)")
    return Path(folder)
