"""Taps: the modules of a network whose activations are read, and how far the network has to run for them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from .errors import UnknownName, UserError
from .methods import Activations


@dataclass(frozen=True)
class Taps:
    """Module paths, as in `Module.named_modules`, whose outputs are the activations; fine to coarse.

    Args:
        encoder: One path per stage.
        decoder: One path per stage.

    The logits need no path: they are the network's own output, or the first of its outputs if it returns a list
    (deep supervision).

    Example:
        >>> taps = Taps(encoder=("encoder.stages.0", "encoder.stages.1"), decoder=("decoder.stages.0",))
        >>> taps.only({"decoder"})
        Taps(encoder=(), decoder=('decoder.stages.0',))
    """

    encoder: tuple[str, ...] = ()
    decoder: tuple[str, ...] = ()

    def only(self, needs: Collection[str]) -> Taps:
        """Return the taps that a method with these `needs` reads."""
        return replace(
            self,
            encoder=self.encoder if "encoder" in needs else (),
            decoder=self.decoder if "decoder" in needs else (),
        )


def nnunet_taps(network: nn.Module) -> Taps:
    """Find the stages of an nnU-Net: `encoder.stages.*`, and `decoder.stages.*` from fine to coarse.

    Raises:
        UserError: The network is not built like an nnU-Net.
    """
    modules = dict(unwrapped(network).named_modules())
    stages = {
        part: [f"{part}.stages.{i}" for i, _ in enumerate(modules[f"{part}.stages"].children())]
        for part in ("encoder", "decoder")
        if f"{part}.stages" in modules
    }
    if set(stages) != {"encoder", "decoder"}:
        raise UserError(
            f"{type(unwrapped(network)).__name__} has no encoder.stages and decoder.stages as an nnU-Net does; "
            "name its stages with student_taps and teacher_taps."
        )
    return Taps(encoder=tuple(stages["encoder"]), decoder=tuple(reversed(stages["decoder"])))


def paired_taps(student: Taps, teacher: Taps, pairs: Sequence[tuple[int, int]]) -> tuple[Taps, Taps]:
    """Keep the taps of the stages that two networks have in common.

    Args:
        student: All stages of a student that is built like an nnU-Net: its decoder has a stage for each of the
            encoder's but the coarsest.
        teacher: All stages of its teacher, which is built like one too.
        pairs: The student's and the teacher's encoder stages of equal resolution, counted from 0, the finest.

    Example:
        >>> paired_taps(Taps(("a", "b"), ("y",)), Taps(("A", "B", "C"), ("Y", "Z")), [(0, 0), (1, 1)])
        (Taps(encoder=('a', 'b'), decoder=('y',)), Taps(encoder=('A', 'B'), decoder=('Y',)))
    """
    in_decoders = [(s, t) for s, t in pairs if s < len(student.decoder) and t < len(teacher.decoder)]
    return (
        Taps(tuple(student.encoder[s] for s, _ in pairs), tuple(student.decoder[s] for s, _ in in_decoders)),
        Taps(tuple(teacher.encoder[t] for _, t in pairs), tuple(teacher.decoder[t] for _, t in in_decoders)),
    )


def as_taps(taps: Taps | Sequence[str] | None, network: nn.Module, *, needs: Collection[str]) -> Taps:
    """Turn a user's taps into those that a method with these `needs` reads.

    Args:
        taps: `Taps`, the encoder's module paths, or `None` for an nnU-Net's.
        network: Any network if taps are given or only logits are needed; else an nnU-Net.
        needs: As in `Method`.

    Raises:
        UserError: No taps are given, and the network is not built like an nnU-Net.

    Example:
        >>> as_taps(["1", "3"], nn.Sequential(), needs={"encoder"})
        Taps(encoder=('1', '3'), decoder=())
        >>> as_taps(None, nn.Sequential(), needs={"logits"})
        Taps(encoder=(), decoder=())
    """
    if set(needs) <= {"logits"}:
        return Taps()
    if taps is None:
        taps = nnunet_taps(network)
    elif not isinstance(taps, Taps):
        taps = Taps(encoder=tuple(taps))
    return taps.only(needs)


def unwrapped(network: nn.Module) -> nn.Module:
    """Return the network inside wrappers of `torch.compile` and `DistributedDataParallel`."""
    while True:
        if isinstance(network, DistributedDataParallel):
            network = network.module
        elif hasattr(network, "_orig_mod"):
            network = network._orig_mod  # type: ignore[assignment]
        else:
            return network


def _is_compiled(network: nn.Module) -> bool:
    inner = network.module if isinstance(network, DistributedDataParallel) else network
    return hasattr(inner, "_orig_mod")


def _replacing(change: Callable[[Tensor], Tensor]) -> Callable[[nn.Module, Any, Tensor], Tensor]:
    return lambda module, inputs, output: change(output)


class TappedNetwork:
    """A network and its taps: runs the network and returns its output with the tapped activations.

    It is not a module, so that the network does not become a submodule of its owner.

    Args:
        network: Any network; it may be compiled or wrapped for data parallelism.
        taps: The modules to read. Each returns one tensor, runs once per forward pass, and is followed by nothing that
            changes its output in place.

    Raises:
        UnknownName: A path names no module.
        UserError: When it is run: the network did not run a module, or was compiled and run before it was tapped; or a
            module is none that can be read.
    """

    def __init__(self, network: nn.Module, taps: Taps) -> None:
        self.network = network
        self.taps = taps
        self._heard = _Heard()
        self._last: str | None = None
        modules = dict(unwrapped(network).named_modules())
        for path in dict.fromkeys((*taps.encoder, *taps.decoder)):
            if path not in modules:
                raise UnknownName("module", path, modules)
            modules[path].register_forward_hook(partial(self._heard.hear, path))

    def __call__(self, x: Tensor) -> tuple[Any, Activations]:
        """Run the whole network; return its output and the activations."""
        with self._heard.listening():
            output = self.network(x)
        return output, self._activations(output)

    def run_for_taps(self, x: Tensor) -> Activations:
        """Run the network only as far as the last tap; return the activations without the logits.

        The first run is a full one and shows which tap is the last.
        """
        with self._heard.listening(until=self._last), suppress(_EnoughHeard):
            self.network(x)
        last = next(reversed(self._heard.outputs), None)
        activations = self._activations(None)
        self._last = last  # not before: only a full run shows what is wrong with a tap
        return activations

    def run_filtered(self, x: Tensor, filters: Sequence[Callable[[Tensor], Tensor]]) -> Any:
        """Run the whole network on filtered features, and return its output.

        Args:
            x: The input.
            filters: One function per encoder tap, fine to coarse; the network continues with what it returns for the
                tap's output.
        """
        modules = dict(unwrapped(self.network).named_modules())
        with ExitStack() as hooks:
            for path, change in zip(self.taps.encoder, filters, strict=True):
                hook = modules[path].register_forward_hook(_replacing(change))
                hooks.callback(hook.remove)
            return self.network(x)

    def _refuse_unseen(self) -> None:
        unseen = [path for path in (*self.taps.encoder, *self.taps.decoder) if path not in self._heard.outputs]
        if not unseen:
            return
        reason = (
            "torch.compile made its code before the network was tapped and does not look at taps that come later. Make "
            "the Distiller before the compiled network runs for the first time, or compile the network again."
            if _is_compiled(self.network)
            else "this forward pass did not run it. Name modules that every forward pass runs."
        )
        raise UserError(f"{type(unwrapped(self.network)).__name__} gave nothing at {', '.join(unseen)}: {reason}")

    def _activations(self, output: Any) -> Activations:
        self._refuse_unseen()
        heard, self._heard.outputs = self._heard.outputs, {}
        for path, (feature, version) in heard.items():
            self._refuse_unreadable(path, feature, version)
        features = {path: feature for path, (feature, _) in heard.items()}
        logits = output[0] if isinstance(output, (list, tuple)) else output
        return Activations(
            encoder=[features[path] for path in self.taps.encoder],
            decoder=[features[path] for path in self.taps.decoder],
            logits=logits if isinstance(logits, torch.Tensor) else None,
        )

    def _refuse_unreadable(self, path: str, feature: Any, version: int | None) -> None:
        name = type(unwrapped(self.network)).__name__
        if not isinstance(feature, Tensor):
            raise UserError(
                f"{name} gives a {type(feature).__name__} at {path}, not a tensor: tap modules that return one each."
            )
        if None not in (version, now := _version(feature)) and version != now:
            raise UserError(
                f"{name} changes the output of {path} in place after the tap: tap the module that changes it instead."
            )


class _EnoughHeard(Exception):
    """Raised in the last tap to end a forward pass whose remaining outputs are not needed."""


class _Heard:
    """What the hooks of a `TappedNetwork` have heard in this run: outputs, and how often each was changed in place.

    It does not know the network, so that copying or pickling a network takes it along, and no wrapper of the network.
    """

    def __init__(self) -> None:
        self.outputs: dict[str, tuple[Any, int | None]] = {}
        self._listens = False
        self._until: str | None = None

    @contextmanager
    def listening(self, *, until: str | None = None) -> Iterator[None]:
        self.outputs = {}
        self._listens, self._until = True, until
        try:
            yield
        finally:
            self._listens = False

    def hear(self, path: str, module: nn.Module, inputs: Any, output: Any) -> None:
        if not self._listens:
            return
        if path in self.outputs:
            raise UserError(
                f"{path} ({type(module).__name__}) runs more than once in a forward pass, so it has several outputs: "
                "tap a module that runs once."
            )
        self.outputs[path] = output, _version(output)
        if path == self._until:
            raise _EnoughHeard


def _version(output: Any) -> int | None:
    """How often a tensor was changed in place; `None` if it is not counted, as in inference mode and compiled code."""
    if torch.compiler.is_compiling() or not isinstance(output, Tensor) or output.is_inference():
        return None
    return output._version
