"""PyTorch's settings for a training, as stock `nnUNetv2_train` makes them before it starts."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch.backends import cudnn


@contextmanager
def stock_settings(device: torch.device) -> Iterator[None]:
    """Train on a GPU as stock nnU-Net does: cuDNN times its algorithms once per size, and one thread feeds the GPU.

    Nothing changes for other devices. On a CPU stock nnU-Net takes a thread per core of the machine, though a container
    or another process may hold some of them; here PyTorch's own number (`OMP_NUM_THREADS`) stays. Stock also sets the
    threads between operators, which no operator of a training uses and which PyTorch lets be set only once.

    Example:
        >>> with stock_settings(torch.device("cuda")):
        ...     torch.backends.cudnn.benchmark, torch.get_num_threads()
        (True, 1)
    """
    if device.type != "cuda":
        yield
        return
    before = cudnn.benchmark, cudnn.deterministic, torch.get_num_threads()
    cudnn.benchmark, cudnn.deterministic = True, False
    torch.set_num_threads(1)
    try:
        yield
    finally:
        cudnn.benchmark, cudnn.deterministic = before[:2]
        torch.set_num_threads(before[2])
