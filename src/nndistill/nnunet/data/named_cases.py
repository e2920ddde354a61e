"""A few cases of many by name, for a message."""

from __future__ import annotations

from collections.abc import Sequence

_MOST = 3


def named_cases(cases: Sequence[str]) -> str:
    """Name the first few cases of a list.

    Example:
        >>> named_cases(["a", "b", "c", "d"])
        'a, b, c, …'
    """
    return ", ".join(cases[:_MOST]) + (", …" if len(cases) > _MOST else "")
