"""Stopping and going on: by --resume, by a kill at any moment, and under stock nnU-Net."""

from __future__ import annotations

import os
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
def uninterrupted(nndistill, world) -> dict:
    assert nndistill(*_arguments(world, "whole")).status == 0
    return read_checkpoint(_folder(world, "whole") / "checkpoint_final.pth")


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


def test_stock_nnunet_trains_and_resumes_the_run(world, uninterrupted, environment, tmp_path):
    """`nnUNetv2_train … -tr nnUNetTrainerDistill -p PLANS --c` goes on where `nndistill distill` was."""
    folder = _folder(world, "stock")
    process = _start(world, "stock")
    _kill_when(process, (folder / "checkpoint_latest.pth").is_file)
    trainers = subprocess.run(
        [sys.executable, "-m", "nndistill", "trainer-path"], capture_output=True, text=True, check=True
    ).stdout.strip()
    python_path = [_with_importable_torchvision(tmp_path), *filter(None, [environment.get("PYTHONPATH")])]
    subprocess.run(
        [Path(sys.executable).with_name("nnUNetv2_train"), world.dataset.name, "3d_fullres", "0"]
        + ["-tr", "nnUNetTrainerDistill", "-p", "stock", "--c", "-device", "cpu"],
        env={**environment, "nnUNet_extTrainer": trainers, "PYTHONPATH": os.pathsep.join(python_path)},
        check=True,
        capture_output=True,
    )
    resumed = read_checkpoint(folder / "checkpoint_final.pth")
    assert resumed["current_epoch"] == EPOCHS
    assert _weights_equal(resumed["network_weights"], uninterrupted["network_weights"])
    assert (folder / "validation" / "summary.json").is_file()


def _with_importable_torchvision(folder: Path) -> str:
    """Mend one combination of wheels for the child process: CPU-only PyTorch with a torchvision made for CUDA.

    Stock nnU-Net imports all its trainers when it looks for one, some of these import torchvision, and that fails
    where torchvision's compiled operators are not there. Declaring the two operators lets the import go through.
    """
    try:
        import torchvision  # noqa: F401
    except RuntimeError:
        (folder / "sitecustomize.py").write_text(
            "import torch\n"
            "operators = torch.library.Library('torchvision', 'DEF')\n"
            "for name in ('nms', 'qnms'):\n"
            "    operators.define(name + '(Tensor dets, Tensor scores, float iou_threshold) -> Tensor')\n"
        )
    return str(folder)


def test_checkpoint_restores_optimiser_phi_and_random_state(uninterrupted):
    extra = uninterrupted["nndistill"]
    assert set(extra) == {"random_state", "method"}
    assert {key.split(".")[0] for key in extra["method"]} >= {"phi"}
    student = {value.data_ptr() for value in uninterrupted["network_weights"].values()}  # some have two names
    phi = [key for key in extra["method"] if key.startswith("phi")]
    assert len(uninterrupted["optimizer_state"]["param_groups"][0]["params"]) == len(student) + len(phi)
