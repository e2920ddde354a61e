"""Which engine computes the teacher of a training: chosen on its first batch, and kept from then on."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from ..errors import UserError
from ..methods import Activations
from .agreement import Reference, relative_differences
from .base import TeacherEngine
from .channels_last import ChannelsLastEngine
from .pytorch import TorchEngine
from .timing import seconds_per_batch

Wanted = Literal["auto", "torch", "openvino"]
WANTED: tuple[Wanted, ...] = get_args(Wanted)

UNDECIDED = "undecided"
"""The name of an engine before its first batch."""

WORTHWHILE_SECONDS = 60.0
"""A teacher that PyTorch computes in less than this, over the whole training, is left to PyTorch."""

_MARGIN = 1.1
"""How many times as fast as PyTorch an engine has to be, so that noise does not decide."""

_BUDGET = 2.0
"""Seconds for the measurement, beyond the fewest rounds."""

_TITLES = {
    "torch": "PyTorch",
    "torch-channels-last": "PyTorch with channels last",
    "openvino": "OpenVINO in float32",
    "openvino-bfloat16": "OpenVINO in bfloat16",
}


class ChosenEngine:
    """A teacher engine for processors: PyTorch, or another that it chooses on its first batch.

    `auto` takes the fastest engine that gives the features that PyTorch gives; if PyTorch computes all batches together
    in `WORTHWHILE_SECONDS`, nothing is tried. `openvino` takes OpenVINO if it gives these features. `Reference` says
    how equal the features have to be; the precision is that of the autocast around the first batch.

    Args:
        plain: The teacher in PyTorch.
        wanted: `auto`, `torch` or `openvino`.
        batches: Number of batches to come.
        kept: The `name` of the choice of an earlier part of the training; it is not made anew.
        facts: What identifies the teacher's weights, in values that JSON can hold.
        folders: Where a converted teacher is kept: the first that can be written.
        log: Takes sentences about what is chosen.
        warn: Takes sentences about what was asked for and is not possible.

    Raises:
        UserError: At the first batch: the engine that has to be kept cannot be used.

    Example:
        >>> from torch import nn
        >>> from nndistill.taps import Taps
        >>> teacher = nn.Sequential(nn.Conv3d(1, 16, 3, padding=1), nn.ReLU()).eval()
        >>> engine = ChosenEngine(TorchEngine(teacher, Taps(encoder=("1",))), wanted="auto", batches=10)
        >>> engine.name
        'undecided'
        >>> (feature,) = engine(torch.rand(1, 1, 8, 8, 8)).encoder
        >>> engine.name
        'torch'
    """

    def __init__(
        self,
        plain: TorchEngine,
        *,
        wanted: Wanted,
        batches: int,
        kept: str = UNDECIDED,
        facts: Mapping[str, Any] | None = None,
        folders: Sequence[Path] = (),
        log: Callable[[str], None] = lambda sentence: None,
        warn: Callable[[str], None] = lambda sentence: None,
    ) -> None:
        self._plain, self._wanted, self._batches, self._kept = plain, wanted, batches, kept
        self._facts, self._folders = facts or {}, folders
        self._log, self._warn = log, warn
        self._chosen: TeacherEngine | None = None

    @property
    def name(self) -> str:
        """Of the engine that was chosen, or has to be kept; `UNDECIDED` before that."""
        return self._chosen.name if self._chosen else self._kept

    def __call__(self, x: Tensor) -> Activations:
        if self._chosen is None:
            with torch.no_grad():
                self._chosen = self._choose(x)
        return self._chosen(x)

    def _choose(self, x: Tensor) -> TeacherEngine:
        if self._kept != UNDECIDED:
            return self._plain if self._kept == self._plain.name else self._keep(x)
        if self._wanted == "torch":
            return self._plain
        return self._openvino_or_pytorch(x) if self._wanted == "openvino" else self._fastest(x)

    def _keep(self, x: Tensor) -> TeacherEngine:
        title = _TITLES.get(self._kept, self._kept)
        try:
            engine = self._tried(self._kept, x, Reference.of(self._plain, x)).engine
        except _NotUsable as reason:
            raise UserError(
                f"this training was begun with its teacher computed by {title}, but {reason}. Make that possible, so "
                "that it continues as it began, or begin one under another name.",
                option="name",
            ) from reason
        self._log(f"the teacher is computed by {title}, as before")
        return engine

    def _openvino_or_pytorch(self, x: Tensor) -> TeacherEngine:
        try:
            tried = self._tried(_openvino_here(), x, Reference.of(self._plain, x))
        except _NotUsable as reason:
            self._warn(f"PyTorch computes the teacher, since {reason}.")
            return self._plain
        self._log(f"the teacher is computed by {tried.title}; {self._described(tried)}")
        return tried.engine

    def _fastest(self, x: Tensor) -> TeacherEngine:
        self._plain(x)
        (alone,) = seconds_per_batch([self._plain], x, budget=0, rounds=1)
        if alone * self._batches < WORTHWHILE_SECONDS:
            return self._plain
        candidates = self._usable(["torch-channels-last", _openvino_here()], x)
        engines = [self._plain, *(candidate.engine for candidate in candidates)]
        seconds = seconds_per_batch(engines, x, budget=_BUDGET)
        measured = ", ".join(f"{_TITLES[e.name]} {s:.3g} s per batch" for e, s in zip(engines, seconds, strict=True))
        fastest = seconds.index(min(seconds))
        if seconds[fastest] * _MARGIN > seconds[0]:
            self._log(f"the teacher is computed by PyTorch; measured: {measured}")
            return self._plain
        chosen = candidates[fastest - 1]
        self._log(f"the teacher is computed by {chosen.title}; measured: {measured}; {self._described(chosen)}")
        return chosen.engine

    def _usable(self, names: Sequence[str], x: Tensor) -> list[_Tried]:
        reference = Reference.of(self._plain, x)
        usable = []
        for name in names:
            try:
                usable.append(self._tried(name, x, reference))
            except _NotUsable as reason:
                self._log(f"{_TITLES[name]} does not compute the teacher, since {reason}")
        return usable

    def _tried(self, name: str, x: Tensor, reference: Reference) -> _Tried:
        try:
            engine = self._built(name, x)
            differences = relative_differences(reference.activations, engine(x))
        except _NotUsable:
            raise
        except Exception as error:  # of whatever kind OpenVINO or a network of the user's raises
            reason = (str(error).strip() or type(error).__name__).splitlines()[-1]
            raise _NotUsable(f"{_TITLES[name]} cannot compute this network ({reason})") from error
        tried = _Tried(engine, differences)
        if not reference.allows(differences):
            bounds = ", ".join(f"{bound:.1e}" for bound in reference.bounds)
            raise _NotUsable(f"with {tried.title} {self._described(tried)}, more than {bounds}")
        return tried

    def _built(self, name: str, x: Tensor) -> TeacherEngine:
        if name == ChannelsLastEngine.name:
            return ChannelsLastEngine(self._plain)
        if name not in _TITLES:
            raise _NotUsable("this version of nnDistill does not know it")
        try:
            from .openvino import OpenVinoEngine, convert_teacher
            from .openvino_graph import computes_bfloat16
            from .stored_model import stored_model
        except ImportError:
            raise _NotUsable(
                "OpenVINO is not installed (pip install '.[openvino]' in nnDistill's repository)"
            ) from None
        bfloat16 = name == "openvino-bfloat16"
        if bfloat16 and not computes_bfloat16():
            raise _NotUsable("this processor has no bfloat16")
        taps = self._plain.tapped.taps
        model = stored_model(
            lambda: convert_teacher(self._plain, x),
            facts={**self._facts, "taps": asdict(taps), "logits": self._plain.logits},
            folders=self._folders,
        )
        return OpenVinoEngine(model, taps, precision="bfloat16" if bfloat16 else "float32")

    def _described(self, tried: _Tried) -> str:
        of_each = ", ".join(
            f"{name} {difference:.1e}" for name, difference in zip(self._plain.outputs, tried.differences, strict=True)
        )
        return f"the features differ from PyTorch's in float32 by (relative norm) {of_each}"


@dataclass(frozen=True)
class _Tried:
    """An engine that computes the teacher here, and the relative difference of each output."""

    engine: TeacherEngine
    differences: list[float]

    @property
    def title(self) -> str:
        return _TITLES[self.engine.name]


class _NotUsable(Exception):
    """Why an engine does not compute this teacher here, as the second half of a sentence."""


def _openvino_here() -> str:
    """OpenVINO in the precision of the present autocast, as far as this processor has it."""
    if not torch.is_autocast_enabled("cpu") or torch.get_autocast_dtype("cpu") != torch.bfloat16:
        return "openvino"
    try:
        from .openvino_graph import computes_bfloat16
    except ImportError:
        return "openvino"
    return "openvino-bfloat16" if computes_bfloat16() else "openvino"
