"""Stopping and going on: by --resume, by a kill at any moment, and under stock nnU-Net."""

from __future__ import annotations

import json
import multiprocessing
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from nndistill.nnunet.models.checkpoints import read_checkpoint
from tiny import TINY

EPOCHS = 4


def _arguments(world, name: str, *more: object) -> list[str]:
    values = ["distill", world.teacher, "--workspace", world.workspace, "--name", name, "--epochs", EPOCHS]
    return [str(v) for v in [*values, *TINY, "--no-validate", *more]]


def _folder(world, name: str) -> Path:
    return world.results / f"nnUNetTrainerDistill__{name}__3d_fullres" / "fold_0"


def _start(world, name: str, *more: object) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "nndistill", *_arguments(world, name, *more)]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)


def _kill_when(process: subprocess.Popen[bytes], condition) -> None:
    end = time.monotonic() + 120
    while not condition():
        assert process.poll() is None, process.stderr.read().decode()
        assert time.monotonic() < end, "the moment to kill never came"
        time.sleep(0.001)
    process.send_signal(signal.SIGKILL)
    process.wait()


def _weights_equal(a: dict, b: dict) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)


@pytest.fixture
def stock_threads(monkeypatch):
    """As many threads as stock nnU-Net takes on a processor: the last bits depend on it."""
    before = torch.get_num_threads()
    monkeypatch.setenv("OMP_NUM_THREADS", str(multiprocessing.cpu_count()))
    torch.set_num_threads(multiprocessing.cpu_count())
    yield
    torch.set_num_threads(before)


@pytest.fixture
def uninterrupted(nndistill, world) -> dict:
    assert nndistill(*_arguments(world, "whole")).status == 0
    return read_checkpoint(_folder(world, "whole") / "checkpoint_final.pth")


@pytest.mark.slow
def test_killed_at_several_moments_and_resumed_equals_uninterrupted(world, uninterrupted):
    """Killed while starting, between two epochs, and while a checkpoint is being written; then left to finish."""
    folder = _folder(world, "killed")
    latest = folder / "checkpoint_latest.pth"
    _kill_when(_start(world, "killed"), lambda: any(folder.glob("training_log*")))
    _kill_when(_start(world, "killed", "--resume"), latest.is_file)
    written = latest.stat().st_mtime_ns
    _kill_when(
        _start(world, "killed", "--resume"),
        lambda: latest.stat().st_mtime_ns > written and any(folder.glob(".checkpoint_*.tmp")),
    )
    assert read_checkpoint(latest)["current_epoch"] < EPOCHS  # what is there can be loaded, whenever the kill came
    last = _start(world, "killed", "--resume")
    assert last.wait() == 0, last.stderr.read().decode()

    resumed = read_checkpoint(folder / "checkpoint_final.pth")
    assert resumed["current_epoch"] == uninterrupted["current_epoch"] == EPOCHS
    assert resumed["logging"]["train_losses"] == uninterrupted["logging"]["train_losses"]
    assert len(resumed["logging"]["distillation_losses"]) == EPOCHS
    assert _weights_equal(resumed["network_weights"], uninterrupted["network_weights"])
    assert _weights_equal(resumed["nndistill"]["method"], uninterrupted["nndistill"]["method"])
    moments = [checkpoint["optimizer_state"]["state"] for checkpoint in (resumed, uninterrupted)]
    assert all(_weights_equal(moments[0][i], moments[1][i]) for i in moments[1])


@pytest.mark.slow
def test_stock_nnunet_trains_and_resumes_the_run(stock_threads, world, uninterrupted, environment):
    """`nnUNetv2_train … -tr nnUNetTrainerDistill -p PLANS --c` goes on where `nndistill distill` was."""
    folder = _folder(world, "stock")
    process = _start(world, "stock")
    _kill_when(process, (folder / "checkpoint_latest.pth").is_file)
    trainers = subprocess.run(
        [sys.executable, "-m", "nndistill", "trainer-path"], capture_output=True, text=True, check=True
    ).stdout.strip()
    subprocess.run(
        [*_stock_training(), world.dataset.name, "3d_fullres", "0"]
        + ["-tr", "nnUNetTrainerDistill", "-p", "stock", "--c", "-device", "cpu"],
        env={**environment, "nnUNet_extTrainer": trainers},
        check=True,
        capture_output=True,
    )
    resumed = read_checkpoint(folder / "checkpoint_final.pth")
    assert resumed["current_epoch"] == EPOCHS
    assert _weights_equal(resumed["network_weights"], uninterrupted["network_weights"])
    assert (folder / "validation" / "summary.json").is_file()


def _stock_training() -> list[str | Path]:
    """`nnUNetv2_train`; where torchvision does not fit PyTorch, the same without its search through all trainers.

    That search imports torchvision, and so fails there in nnU-Net: see docs/how-to/install.md.
    """
    try:
        import torchvision  # noqa: F401
    except RuntimeError:
        code = (
            "from nnunetv2.run import run_training\n"
            "from nndistill.nnunet.trainers import nndistill_trainers\n"
            "run_training.recursive_find_trainer_class_by_name = lambda name: getattr(nndistill_trainers, name)\n"
            "run_training.run_training_entry()\n"
        )
        return [sys.executable, "-c", code]
    return [Path(sys.executable).with_name("nnUNetv2_train")]


def test_checkpoint_restores_optimiser_phi_and_random_state(uninterrupted):
    extra = uninterrupted["nndistill"]
    assert set(extra) == {"random_state", "method", "teachers"}
    assert {key.split(".")[0] for key in extra["method"]} >= {"phi"}
    student = {value.data_ptr() for value in uninterrupted["network_weights"].values()}  # some have two names
    phi = [key for key in extra["method"] if key.startswith("phi")]
    assert len(uninterrupted["optimizer_state"]["param_groups"][0]["params"]) == len(student) + len(phi)


@pytest.mark.slow
def test_a_network_that_is_trained_anew_is_validated_anew(nndistill, world):
    summary = _folder(world, "anew") / "validation" / "summary.json"
    summary.parent.mkdir(parents=True)
    summary.write_text("{}")
    arguments = [argument for argument in _arguments(world, "anew") if argument != "--no-validate"]
    assert nndistill(*arguments, "--epochs", 1).status == 0
    assert "foreground_mean" in json.loads(summary.read_text())
