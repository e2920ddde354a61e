"""Checkpoints: what comes back, and the random numbers."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch

from nndistill.errors import UserError
from nndistill.nnunet.models.checkpoints import (
    random_state,
    read_checkpoint,
    restore_random_state,
    seed_everything,
    write_checkpoint,
)

MINIMAL = {"network_weights": {}, "trainer_name": "nnUNetTrainer", "init_args": {}}


def test_numbers_of_numpy_and_devices_come_back(tmp_path):
    logged = {"loss": [np.float32(0.5), np.float64(0.25), np.int64(3)], "device": torch.device("cpu")}
    write_checkpoint(tmp_path / "c.pth", {**MINIMAL, "logging": logged})
    assert read_checkpoint(tmp_path / "c.pth")["logging"] == logged


def _draw() -> tuple[float, float, float]:
    return random.random(), float(np.random.rand()), float(torch.rand(()))


def test_random_numbers_continue_after_a_round_trip_through_a_file(tmp_path):
    seed_everything(3)
    _draw()
    write_checkpoint(tmp_path / "c.pth", {**MINIMAL, "state": random_state()})
    expected = [_draw() for _ in range(5)]
    seed_everything(4)
    restore_random_state(read_checkpoint(tmp_path / "c.pth")["state"])
    assert [_draw() for _ in range(5)] == expected


def test_file_that_is_not_a_checkpoint_names_what_is_missing(tmp_path):
    torch.save({"weights": torch.zeros(1)}, tmp_path / "c.pth")
    with pytest.raises(UserError, match="no init_args, network_weights, trainer_name"):
        read_checkpoint(tmp_path / "c.pth")
