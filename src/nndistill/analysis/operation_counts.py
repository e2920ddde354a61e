"""Counts of what a piece of PyTorch code asks of a device, for which no device is needed: run it on `meta` tensors."""

from __future__ import annotations

import math
import weakref
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

from ..wavelets.fused.launches import Launch, listening

aten = torch.ops.aten

READS_A_NUMBER = {aten._local_scalar_dense, aten.equal}
"""What `item()`, `bool(tensor)`, `int(tensor)` and `torch.equal` dispatch to: the host waits for the device."""

SIZE_FROM_VALUES = {aten.nonzero, aten.masked_select, aten._unique2, aten.unique_dim, aten.unique_consecutive}
"""Their results have a size that the device has to tell the host; so has indexing with a mask."""

ALLOCATES = {aten.empty, aten.empty_like, aten.empty_strided, aten.new_empty, aten.new_empty_strided}

OVERWRITES = {aten.fill_, aten.zero_, aten.copy_}
"""In-place operations that do not read what they write to."""


@dataclass
class OperationCounts:
    """What was dispatched to PyTorch's kernels while `count_operations` listened.

    Args:
        kernels: Operations that compute or move something, each at least one launch on a GPU.
        views: Operations that return another view of their input, or memory that is not filled: host time alone.
        flops: Floating-point operations of convolutions and matrix products, a multiply-add counted as two.
        bytes: What the kernels read and write, every kernel's tensors in full and none of them from a cache. An element
            that an expanded tensor repeats counts once, and of an indexed tensor what is taken or put.
        peak_bytes: The most that tensors made inside held at the same time, without the memory that an operation takes
            for itself.
        syncs: How often the host has to wait for a number from a device that is not the host itself.
        names: Calls by the operation's name.
    """

    kernels: int = 0
    views: int = 0
    flops: int = 0
    bytes: int = 0
    peak_bytes: int = 0
    syncs: int = 0
    names: Counter[str] = field(default_factory=Counter)

    @property
    def operations(self) -> int:
        """All that was dispatched, kernels and views."""
        return self.kernels + self.views


@contextmanager
def count_operations(*, read: Callable[[Tensor], bool | int | float] | None = None) -> Iterator[OperationCounts]:
    """Count what is dispatched inside, backward passes included.

    Args:
        read: What reading a number of a `meta` tensor gives, which has none. Default: as always, it raises.

    Example:
        >>> with count_operations() as counts:
        ...     x = torch.empty(64, 32, device="meta") @ torch.empty(32, 16, device="meta").relu()
        >>> counts.kernels, counts.flops, counts.bytes
        (2, 65536, 18432)
    """
    counts = OperationCounts()
    with _Counting(counts, read), listening(partial(_add_launch, counts)):
        yield counts


def _add_launch(counts: OperationCounts, launch: Launch) -> None:
    counts.kernels += 1
    counts.bytes += launch.bytes
    counts.flops += launch.flops
    counts.names[launch.kernel] += 1


class _Counting(TorchDispatchMode):
    def __init__(self, counts: OperationCounts, read: Callable[[Tensor], bool | int | float] | None) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.counts, self.read = counts, read
        self.held: dict[int, int] = {}

    def __torch_dispatch__(
        self, func: Any, types: Sequence[type], args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        kwargs = dict(kwargs or {})
        packet = func._overloadpacket
        counts = self.counts
        counts.names[packet.__name__] += 1
        counts.syncs += _waits(packet, args, kwargs)
        if packet is aten._local_scalar_dense and args[0].is_meta and self.read is not None:
            counts.kernels += 1
            return self.read(args[0])
        known = {_storage(x) for x in tree_leaves([args, kwargs]) if isinstance(x, Tensor)}
        result = func(*args, **kwargs)
        self._hold(x for x in tree_leaves(result) if isinstance(x, Tensor) and _storage(x) not in known)
        if func.is_view or packet in ALLOCATES:
            counts.views += 1
        else:
            counts.kernels += 1
            counts.bytes += _traffic(func, args, kwargs, result)
        formula = flop_registry.get(getattr(aten, packet.__name__.rstrip("_"), packet))  # addmm_ counts as addmm
        if formula is not None:
            counts.flops += formula(*args, **kwargs, out_val=result)
        return result

    def _hold(self, made: Iterable[Tensor]) -> None:
        for storage in {x.untyped_storage() for x in made}:
            if storage._cdata not in self.held:
                self.held[storage._cdata] = storage.nbytes()
                weakref.finalize(storage, self.held.pop, storage._cdata)
        self.counts.peak_bytes = max(self.counts.peak_bytes, sum(self.held.values()))


def _storage(x: Tensor) -> int:
    identity: int = x.untyped_storage()._cdata
    return identity


def _waits(packet: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> bool:
    if not isinstance(args[0] if args else None, Tensor) or args[0].device.type == "cpu":
        return False
    if packet in READS_A_NUMBER or packet in SIZE_FROM_VALUES:
        return True
    if packet is aten.index:
        return any(isinstance(index, Tensor) and index.dtype in (torch.bool, torch.uint8) for index in args[1])
    return packet is aten._to_copy and str(kwargs.get("device", "")) == "cpu"


def _traffic(func: Any, args: Sequence[Any], kwargs: Mapping[str, Any], result: Any) -> int:
    schema = func._schema.arguments
    positional = [value for argument, value in zip(schema, args, strict=False) if not argument.is_out]
    out = {argument.name for argument in schema if argument.is_out}
    if func._overloadpacket in OVERWRITES:
        positional = positional[1:]
    if func._overloadpacket is aten.index:
        positional[0] = result
    if func._overloadpacket is aten.index_put_:
        positional, result = positional[1:], args[2]
    named = [value for name, value in kwargs.items() if name not in out]
    return sum(_size(x) for x in tree_leaves([positional, named, result]) if isinstance(x, Tensor))


def _size(x: Tensor) -> int:
    if x.layout != torch.strided:
        return x.numel() * x.element_size()
    distinct = math.prod(size for size, stride in zip(x.shape, x.stride(), strict=True) if stride or size == 0)
    return distinct * x.element_size()
