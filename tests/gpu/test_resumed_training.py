"""A training on CUDA that is killed and resumed."""

from __future__ import annotations

import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import torch

from nndistill.nnunet.models.checkpoints import read_checkpoint
from short_trainings import distillation, fold_folder

EPOCHS = 3


@pytest.mark.usefixtures("not_compiled")
def test_killed_and_resumed_is_the_uninterrupted_training_up_to_rounding(world, nndistill, device):
    common = ["--epochs", EPOCHS, "--no-validate"]
    assert nndistill(*distillation(world, "whole", device, *common)).status == 0
    command = [sys.executable, "-m", "nndistill", *distillation(world, "killed", device, *common)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    latest, end = fold_folder(world, "killed") / "checkpoint_latest.pth", time.monotonic() + 120
    while not latest.is_file():
        assert process.poll() is None, process.stderr.read().decode()
        assert time.monotonic() < end
        time.sleep(0.001)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert read_checkpoint(latest)["current_epoch"] < EPOCHS

    result = nndistill(*distillation(world, "killed", device, *common, "--resume"))
    assert result.status == 0, result.err
    whole, resumed = (
        read_checkpoint(fold_folder(world, name) / "checkpoint_final.pth") for name in ("whole", "killed")
    )
    assert resumed["current_epoch"] == whole["current_epoch"] == EPOCHS
    losses = [checkpoint["logging"]["train_losses"] for checkpoint in (resumed, whole)]
    np.testing.assert_allclose(*losses, rtol=1e-2, atol=2e-2)
    for part in ("network_weights", "nndistill"):
        weights = [_as_one(checkpoint[part].get("method", checkpoint[part])) for checkpoint in (resumed, whole)]
        assert (weights[0] - weights[1]).norm() <= 1e-2 * weights[1].norm()  # sums on a GPU have no fixed order


def _as_one(state: dict[str, torch.Tensor]) -> torch.Tensor:
    return torch.cat([value.double().flatten() for value in state.values()])
