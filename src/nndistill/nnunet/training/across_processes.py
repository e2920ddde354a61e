"""What several processes of one training have to share: φ, the same in all of them, and what each of them knows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from torch import distributed, nn
from torch.nn.parallel import DistributedDataParallel

T = TypeVar("T")


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


def gathered(value: T) -> list[T]:
    """Return the value of every process, in the order of their ranks; every process has to call this.

    Args:
        value: Anything that can be pickled.

    Example:
        >>> gathered("alone")
        ['alone']
    """
    if not (distributed.is_available() and distributed.is_initialized()):
        return [value]
    values = [value] * distributed.get_world_size()
    distributed.all_gather_object(values, value)
    return values
