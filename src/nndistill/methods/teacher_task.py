"""What a method may learn from before the student is trained: the frozen teacher on its own task."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

from torch import Tensor

RunTeacher = Callable[[Tensor, Sequence[Callable[[Tensor], Tensor]]], Any]
"""Runs a whole teacher on a batch and returns its output; each encoder stage's output goes through one function."""


@dataclass(frozen=True)
class TeacherTask:
    """A frozen teacher, its training data and its loss.

    Args:
        run_teacher: Runs the whole teacher, with the output of every encoder stage replaced by what the stage's
            function returns (`RunTeacher`).
        batches: Input and target, without end.
        loss: Of the teacher's output and a target.
        report: Called with the number of steps done and of all steps.
        computing: Makes a context in which a forward pass and its loss are computed, such as one of autocast.
    """

    run_teacher: RunTeacher
    batches: Iterable[tuple[Tensor, Any]]
    loss: Callable[[Any, Any], Tensor]
    report: Callable[[int, int], None]
    computing: Callable[[], AbstractContextManager[Any]] = nullcontext
