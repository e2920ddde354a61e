"""Softening: logits divided by a temperature, from which the methods that compare predictions start."""

from __future__ import annotations

from torch import Tensor

from ...errors import StageMismatch, UserError
from ..base import Activations
from .reductions import widened


def soft_logits(student: Activations, teacher: Activations, temperature: float) -> tuple[Tensor, Tensor]:
    """Divide both networks' logits by the temperature, in single precision at least.

    Raises:
        StageMismatch: A network gave no logits, or the two differ in shape.
    """
    s, t = matching_logits(student, teacher)
    return widened(s) / temperature, widened(t) / temperature


def matching_logits(student: Activations, teacher: Activations) -> tuple[Tensor, Tensor]:
    """Return both networks' logits.

    Raises:
        StageMismatch: A network gave none, or the two differ in shape.
    """
    s, t = student.logits, teacher.logits
    if s is None or t is None:
        raise StageMismatch(
            f"the {'student' if s is None else 'teacher'} gave no logits; a network has to return them as a tensor "
            "or as the first of a list."
        )
    if s.shape != t.shape:
        raise StageMismatch(
            f"logits of unequal shape: student {tuple(s.shape)}, teacher {tuple(t.shape)}. "
            "Both networks have to predict the same classes on the same grid."
        )
    return s, t


def checked_temperature(value: float) -> float:
    """Return the temperature.

    Raises:
        UserError: It is not a number above zero.
    """
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < float("inf"):
        raise UserError(
            f"temperature {value!r} is not possible: what is softened is divided by it, so give a number above 0.",
            option="option",
        )
    return float(value)
