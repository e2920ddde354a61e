"""A training on CUDA that is killed and resumed."""

from __future__ import annotations

import signal
import subprocess
import sys
import time

import numpy as np
import pytest

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
    np.testing.assert_allclose(resumed["logging"]["train_losses"], whole["logging"]["train_losses"], rtol=1e-2)
    assert resumed["network_weights"].keys() == whole["network_weights"].keys()
    for name, weights in whole["network_weights"].items():
        difference = (resumed["network_weights"][name].double() - weights.double()).norm()
        assert difference <= 1e-2 * weights.double().norm() + 1e-3, name
