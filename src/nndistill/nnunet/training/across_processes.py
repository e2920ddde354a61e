"""What several processes of one training have to share: φ, the same in all of them, and what each of them knows."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, TypeVar

import torch
from torch import distributed, nn
from torch.nn.parallel import DistributedDataParallel
from torch.nn.utils import parameters_to_vector, vector_to_parameters

from ...errors import UserError

T = TypeVar("T")


class FirstProcessFailed(UserError):
    """Raised in all processes but the first, when the first failed in what it did for all."""


def across_processes(module: nn.Module, device: torch.device) -> nn.Module:
    """Give every process the first one's parameters, and if any is trained, the mean of all processes' gradients.

    Args:
        module: The student, or a method with its φ; each process has drawn its parameters for itself.
        device: Where it computes.

    Returns:
        A `DistributedDataParallel` if anything is trained, which refuses a module without trained parameters.
    """
    if any(parameter.requires_grad for parameter in module.parameters()):
        return DistributedDataParallel(module, device_ids=[device] if device.type == "cuda" else None)
    for parameter in module.parameters():
        distributed.broadcast(parameter.detach(), src=0)
    return module


def mean_gradients(parameters: Iterable[nn.Parameter]) -> None:
    """Replace gradients by their means over all processes, each of which has to call this.

    For gradients that were collected in each process alone, whose sum `DistributedDataParallel` has not seen.

    Args:
        parameters: The same in every process; those without a gradient are without one in all.

    Example:
        >>> mean_gradients([])
    """
    if not _several():
        return
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    together = parameters_to_vector(gradients)
    distributed.all_reduce(together)
    vector_to_parameters(together / distributed.get_world_size(), gradients)


def process_count() -> int:
    """Number of processes that train together; 1 if this one trains alone.

    Example:
        >>> process_count()
        1
    """
    return distributed.get_world_size() if _several() else 1


def is_first() -> bool:
    """Whether this is the first of several processes, or the only one: the one that writes and reports.

    Example:
        >>> is_first()
        True
    """
    return not _several() or distributed.get_rank() == 0


def gathered(value: T) -> list[T]:
    """Return the value of every process, in the order of their ranks; every process has to call this.

    Args:
        value: Anything that can be pickled.

    Example:
        >>> gathered("alone")
        ['alone']
    """
    if not _several():
        return [value]
    values = [value] * distributed.get_world_size()
    distributed.all_gather_object(values, value)
    return values


def made_by_first(make: Callable[[], T]) -> T:
    """Let the first process make something while the others wait, and return it in all; every process has to call this.

    Args:
        make: Makes something that can be pickled.

    Raises:
        FirstProcessFailed: In the others, if the first failed.

    Example:
        >>> made_by_first(lambda: "made")
        'made'
    """
    if not _several():
        return make()
    if not is_first():
        said: list[Any] = [None, None]
        distributed.broadcast_object_list(said, src=0)
        if said[1] is not None:
            raise FirstProcessFailed(said[1])
        return said[0]  # type: ignore[no-any-return]
    try:
        made = make()
    except Exception as error:
        distributed.broadcast_object_list([None, str(error)], src=0)
        raise
    distributed.broadcast_object_list([made, None], src=0)
    return made


def _several() -> bool:
    return distributed.is_available() and distributed.is_initialized()
