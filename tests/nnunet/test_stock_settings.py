"""PyTorch's settings in a training on a GPU are stock nnU-Net's, and afterwards what they were."""

from __future__ import annotations

import pytest
import torch
from torch.backends import cudnn

from nndistill.nnunet.training.stock_settings import stock_settings


@pytest.fixture
def before():
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    yield False, cudnn.deterministic, 2
    torch.set_num_threads(threads)


def _settings() -> tuple[bool, bool, int]:
    return cudnn.benchmark, cudnn.deterministic, torch.get_num_threads()


def test_gpu_gets_the_fastest_convolutions_and_one_thread(before):
    with stock_settings(torch.device("cuda")):
        assert _settings() == (True, False, 1)
    assert _settings() == before


@pytest.mark.parametrize("device", ["cpu", "mps"])
def test_other_devices_keep_theirs(device, before):
    with stock_settings(torch.device(device)):
        assert _settings() == before
