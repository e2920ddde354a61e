"""What each launch of a Triton kernel reads and writes, for those who count: PyTorch does not see these launches."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass


@dataclass(frozen=True)
class Launch:
    """One launch.

    Args:
        kernel: Its name.
        bytes: Of what it reads and of what it writes, each tensor in full and once.
        loaded: Bytes that its programs load, all of them together: what two programs load counts twice.
        stored: Bytes that they store.
        flops: Floating-point operations of its matrix products, a multiply-add counted as two, padding included.
    """

    kernel: str
    bytes: int
    loaded: int
    stored: int
    flops: int


Listener = Callable[[Launch], None]

_listeners: list[Listener] = []


@contextmanager
def listening(listener: Listener) -> Iterator[None]:
    """Call `listener` at every launch inside, and also where tensors are on `meta` and nothing is launched.

    Example:
        >>> heard = []
        >>> with listening(heard.append):
        ...     announce(Launch("scaled", bytes=8, loaded=4, stored=4, flops=0))
        >>> heard[0].kernel
        'scaled'
    """
    _listeners.append(listener)
    try:
        yield
    finally:
        _listeners.remove(listener)


def announce(launch: Launch) -> None:
    """Tell those who listen."""
    for listener in _listeners:
        listener(launch)
