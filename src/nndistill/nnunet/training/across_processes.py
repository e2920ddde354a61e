"""A method in a training on several GPUs: the same φ in every process, whether it is trained or not."""

from __future__ import annotations

from collections.abc import Sequence

from torch import distributed, nn
from torch.nn.parallel import DistributedDataParallel


def across_processes(method: nn.Module, *, device_ids: Sequence[int] | None = None) -> nn.Module:
    """Give every process the first one's φ, and if any of it is trained, the mean of all processes' gradients.

    Args:
        method: A method; each process has drawn φ for itself.
        device_ids: As of `DistributedDataParallel`, which the result is if anything is trained, and which refuses a
            module without trained parameters.
    """
    if any(parameter.requires_grad for parameter in method.parameters()):
        return DistributedDataParallel(method, device_ids=device_ids)
    for parameter in method.parameters():
        distributed.broadcast(parameter.detach(), src=0)
    return method
