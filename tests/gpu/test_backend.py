"""PyTorch on CUDA as a backend of prediction, and a GPU without enough memory."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import torch

from networks import residual_unet
from nndistill.errors import UserError
from nndistill.runtime.backends.torch import TorchBackend, find_device
from short_trainings import distillation


def test_gpu_is_the_device_that_is_chosen(cuda):
    assert find_device("auto") == find_device("cuda") == torch.device("cuda")


def test_backend_gives_the_logits_of_a_processor(device):
    torch.manual_seed(0)
    network = residual_unet([8, 16], classes=3)
    window = np.random.default_rng(0).standard_normal((1, 32, 24, 16), dtype=np.float32)
    mirrorings = ((), (0,), (1, 2))
    expected = TorchBackend(network, device=torch.device("cpu")).logits(window, mirrorings)
    found = TorchBackend(network, device=device).logits(window, mirrorings)
    assert np.linalg.norm(found - expected) <= 1e-2 * np.linalg.norm(expected)  # autocast in half precision
    assert (found.argmax(0) == expected.argmax(0)).mean() > 0.99


@pytest.fixture
def little_memory(cuda: torch.device) -> Iterator[None]:
    """As if the GPU had four megabytes more than what is held by now."""
    torch.cuda.empty_cache()
    total = torch.cuda.get_device_properties(cuda).total_memory
    torch.cuda.set_per_process_memory_fraction((torch.cuda.memory_reserved(cuda) + 4e6) / total)
    yield
    torch.cuda.set_per_process_memory_fraction(1.0)


def test_window_that_does_not_fit_the_gpu_is_a_sentence(little_memory, cuda):
    backend = TorchBackend(residual_unet([8, 16], classes=3), device=cuda)
    with pytest.raises(UserError, match="not enough memory for a window of 128×128×128 voxels") as refused:
        backend.logits(np.zeros((1, 128, 128, 128), np.float32))
    assert refused.value.option == "device"


@pytest.mark.usefixtures("not_compiled")
def test_training_that_does_not_fit_the_gpu_is_a_sentence(world, nndistill, little_memory, cuda):
    result = nndistill(*distillation(world, "large", cuda, "--epochs", 1, "--no-validate"))
    assert result.status == 2
    assert "the GPU has not enough memory for large" in result.err
    assert "See the options --batch-size, --features, --method." in result.err
