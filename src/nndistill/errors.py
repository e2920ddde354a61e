"""Mistakes that a user can make and correct.

The command line prints their message after `error: `, without a traceback, and exits with status 2.
"""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches
from typing import Any


class UserError(Exception):
    """Something the user can correct: the message says what is wrong, where, and what to do.

    The message names the parameters of Python functions; the command line adds the names of its options. A process
    can raise it for another one: pickling keeps the class, the message and the options.

    Args:
        message: One sentence, or a few.
        option: The command-line option that the message is about, without dashes, such as `"reduction"`, or several,
            such as `("resume", "name")`.

    Example:
        >>> error = UserError("a reduction of 3 does not divide 32 channels.", option="reduction")
        >>> str(error)
        'a reduction of 3 does not divide 32 channels.'
        >>> error.flags
        ['--reduction']
    """

    def __init__(self, message: str, *, option: str | tuple[str, ...] = ()) -> None:
        super().__init__(message)
        self.option = option

    @property
    def flags(self) -> list[str]:
        """The options as they are written on the command line."""
        names = [self.option] if isinstance(self.option, str) else self.option
        return [f"--{name.replace('_', '-')}" for name in names]

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle without another call of `__init__`, which takes other arguments in a subclass than the message."""
        return _restored, (type(self), self.args), self.__dict__


def _restored(kind: type[UserError], args: tuple[Any, ...]) -> UserError:
    return kind.__new__(kind, *args)


class UnknownName(UserError, KeyError):
    """A name that is not in a list of allowed names; the message suggests the nearest one.

    Args:
        kind: What was named, for example `"method"`.
        name: What the user wrote.
        allowed: The names that exist.
        option: As in `UserError`.

    Example:
        >>> print(UnknownName("method", "dcb", ["dcd", "feature"]))
        there is no method 'dcb'. Did you mean 'dcd'? Known: dcd, feature.
    """

    def __init__(self, kind: str, name: str, allowed: Iterable[str], *, option: str | tuple[str, ...] = ()) -> None:
        names = sorted(allowed)
        nearest = get_close_matches(name, names, n=1, cutoff=0.4)
        hint = f" Did you mean {nearest[0]!r}?" if nearest else ""
        listed = ", ".join(names[:20]) + (", …" if len(names) > 20 else "")
        super().__init__(f"there is no {kind} {name!r}.{hint} Known: {listed}.", option=option)

    def __str__(self) -> str:  # KeyError would print the repr
        return str(self.args[0])


class StageMismatch(UserError, ValueError):
    """Features of the teacher and of the student cannot be compared: numbers of stages or sizes differ."""
