"""A training whose processes `torchrun` started, on one machine or on several.

Each of them runs the whole command. The first one alone prepares, reports and writes; all of them train.
"""

from __future__ import annotations

import logging
import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from types import FrameType
from typing import NoReturn

import torch
from torch import distributed

from ...errors import UserError
from ...runtime.backends.torch import find_device
from .across_processes import FirstProcessFailed
from .tracking import stop_tracking

_LONGEST_WAIT = timedelta(hours=12)
"""For what one process does while the others wait, such as preprocessing; `torchrun` itself sees that one has ended."""

_SECONDS_TO_BE_ENDED = 30

_LOST = ("Connection closed by peer", "Connection reset by peer", "gloo", "NCCL")
"""In the messages of collective calls whose other end is gone."""


@dataclass(frozen=True)
class Launched:
    """The place of a process among those that were started together.

    Args:
        rank: Its number among all of them.
        local_rank: Its number among those on its machine.
        processes: How many there are in all.
        local_processes: How many there are on its machine.
    """

    rank: int
    local_rank: int
    processes: int
    local_processes: int


def launched() -> Launched | None:
    """Return the place that `torchrun` gave this process in its environment; `None` if it trains alone.

    Raises:
        UserError: The environment names a part of the place, or one that cannot be.

    Example:
        >>> launched() is None
        True
    """
    names = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE")
    if not all(name in os.environ for name in names):
        return None
    try:
        rank, local_rank, processes, local_processes = (int(os.environ[name]) for name in names)
    except ValueError:
        given = ", ".join(f"{name}={os.environ[name]}" for name in names)
        raise UserError(f"these environment variables of torchrun have to be numbers: {given}.") from None
    return Launched(rank, local_rank, processes, local_processes) if processes > 1 else None


def device_of(place: Launched, device: str) -> torch.device:
    """Return where a process trains: on its own GPU of its machine, or on the processor.

    Args:
        place: Of the process.
        device: `cpu`, `cuda`, or `auto` for GPUs if there are any.

    Raises:
        UserError: The machine has fewer GPUs than processes, or several processes cannot train on such a device.
    """
    kind = find_device(device).type
    if kind == "cpu":
        return torch.device("cpu")
    if kind != "cuda":
        raise UserError(f"several processes train together on cuda or cpu, not on {kind}.", option="device")
    present = torch.cuda.device_count()
    if place.local_processes > present:
        raise UserError(
            f"torchrun started {place.local_processes} processes on this machine, which has {present} GPUs with CUDA; "
            "start at most one per GPU (--nproc-per-node), or train on the processor.",
            option="device",
        )
    return torch.device("cuda", place.local_rank)


@contextmanager
def joined(device: str, *, gpus: int = 1) -> Iterator[None]:
    """Join the processes that `torchrun` started, if it started this one, for a block that trains.

    In all but the first process nothing is logged. If another process ends, this one does too.

    Args:
        device: As in `device_of`.
        gpus: Number of GPUs that the user asked for besides; more than one make sense without `torchrun` only.

    Raises:
        UserError: As `device_of`; several GPUs are asked for; or another process of the training ended.
    """
    place = launched()
    if place is None:
        yield
        return
    try:
        here = _device_of(place, device, gpus)
    except UserError:
        if place.local_rank > 0:
            _leave_it_to_another()  # the first on this machine says it
        raise
    if here.type == "cuda":
        torch.cuda.set_device(here)
    distributed.init_process_group("nccl" if here.type == "cuda" else "gloo", timeout=_LONGEST_WAIT)
    if place.rank > 0:
        package = logging.getLogger("nndistill")
        package.handlers, package.propagate = [logging.NullHandler()], False
        stop_tracking()
    before = signal.signal(signal.SIGTERM, _ended)  # from torchrun, when another process has ended
    try:
        yield
    except FirstProcessFailed:
        _leave_it_to_another()  # the first process says why
    except RuntimeError as error:
        if not any(words in str(error) for words in _LOST):
            raise
        raise _another_ended() from error
    finally:
        signal.signal(signal.SIGTERM, before)
    distributed.destroy_process_group()


def _device_of(place: Launched, device: str, gpus: int) -> torch.device:
    if gpus > 1:
        raise UserError("torchrun has started the processes, one per GPU; leave out the number of GPUs.", option="gpus")
    return device_of(place, device)


def _leave_it_to_another() -> NoReturn:
    """Wait to be ended by `torchrun`, which would otherwise end the process that says why before it has said it."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    time.sleep(_SECONDS_TO_BE_ENDED)
    raise SystemExit(2)


def _ended(number: int, frame: FrameType | None) -> NoReturn:
    raise _another_ended()


def _hold_sigterm() -> None:
    if signal.getsignal(signal.SIGTERM) is _ended:
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})


def _release_sigterm() -> None:
    if signal.getsignal(signal.SIGTERM) is _ended:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})


def _take_sigterm_by_default() -> None:
    if signal.getsignal(signal.SIGTERM) is _ended:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})


if hasattr(os, "register_at_fork"):
    # nnU-Net's pools end their processes right after their start, when a handler in Python misses the signal.
    os.register_at_fork(before=_hold_sigterm, after_in_parent=_release_sigterm, after_in_child=_take_sigterm_by_default)


def _another_ended() -> UserError:
    return UserError(
        "another process of this training has ended, and so this one ends too; what that one said is above, or in "
        "torchrun's report below. The last checkpoint is intact: resume from it with as many processes as there are.",
        option="resume",
    )
