"""Several teachers as one: each computes the samples that it teaches."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from ..methods.lessons import Lesson, Lessons
from .average import mean_of_classes
from .base import TeacherEngine


class TeacherEnsemble:
    """Run several teacher engines, and put together what they say of each sample.

    Features stay apart. Of the logits, those of a sample's teachers are averaged: by default so that their softmax is
    the mean of the teachers' probabilities. The ensemble is one model then, and a method with a temperature softens
    that model's prediction. Averaging predictions that were softened first would be another target at each temperature,
    and none that the ensemble ever gives.

    Args:
        engines: One per teacher.
        average: What turns the logits of several teachers into those of all together.

    Example:
        >>> from torch import nn
        >>> from nndistill.taps import Taps
        >>> from nndistill.teacher_engines import TorchEngine
        >>> engines = [TorchEngine(nn.Conv3d(1, 2, 1).eval(), Taps(), logits=True) for _ in range(3)]
        >>> x = torch.rand(2, 1, 4, 4, 4)
        >>> with torch.no_grad():
        ...     together, apart = TeacherEnsemble(engines)(x), [engine(x).logits.softmax(1) for engine in engines]
        >>> torch.allclose(together.logits.softmax(1), sum(apart) / 3, atol=1e-6)
        True
    """

    def __init__(
        self, engines: Sequence[TeacherEngine], *, average: Callable[[Sequence[Tensor]], Tensor] = mean_of_classes
    ) -> None:
        self.engines = list(engines)
        self._average = average

    def __call__(self, x: Tensor, teachers: Sequence[Sequence[int]] | None = None) -> Lessons:
        """Return the lessons of a batch.

        Args:
            x: `(B, C, D, H, W)`.
            teachers: The numbers of the teachers of each sample, ascending, equally many for all. Default: all teach
                all.

        Raises:
            ValueError: Samples have none, or different numbers of them.
        """
        of_sample = [tuple(each) for each in teachers or [range(len(self.engines))] * len(x)]
        numbers = {len(each) for each in of_sample}
        if len(of_sample) != len(x) or len(numbers) != 1 or 0 in numbers:
            raise ValueError("each sample of a batch needs teachers, equally many for all")
        rows = {k: [b for b, each in enumerate(of_sample) if k in each] for k in range(len(self.engines))}
        rows = {k: samples for k, samples in rows.items() if samples}
        found = {k: self.engines[k](x if len(samples) == len(x) else x[samples]) for k, samples in rows.items()}
        logits = self._together({k: each.logits for k, each in found.items()}, rows, of_sample)
        return Lessons(
            encoder=[],
            logits=logits,
            of_teachers=[
                Lesson(
                    teacher=k,
                    rows=None if len(rows[k]) == len(x) else rows[k],
                    weight=len(rows[k]) / len(x) / len(of_sample[0]),
                    activations=replace(each, logits=None if logits is None else _of_rows(logits, rows[k])),
                )
                for k, each in found.items()
            ],
        )

    def _together(
        self,
        logits: dict[int, Tensor | None],
        rows: dict[int, list[int]],
        of_sample: Sequence[tuple[int, ...]],
    ) -> Tensor | None:
        """The logits of the whole batch, averaged over the teachers of each sample."""
        given = {k: each for k, each in logits.items() if each is not None}
        if not given:
            return None
        parts, order = [], []
        for teachers in dict.fromkeys(of_sample):
            samples = [b for b, each in enumerate(of_sample) if each == teachers]
            own = [_of_rows(given[k], [rows[k].index(b) for b in samples]) for k in teachers]
            parts.append(own[0] if len(own) == 1 else self._average(own))
            order += samples
        if len(parts) == 1:
            return parts[0]
        back = sorted(range(len(order)), key=order.__getitem__)
        return torch.cat(parts)[back]


def _of_rows(tensor: Tensor, rows: list[int]) -> Tensor:
    """These samples; the tensor itself, not a copy, if they are all."""
    return tensor if len(rows) == len(tensor) else tensor[rows]
