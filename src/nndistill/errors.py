"""The mistakes a user can make, each told in one clear sentence and never as a traceback.

The command line prints the sentence after `error: ` and exits with status 2.
"""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


class UserError(Exception):
    """Something the user can mend: the message says what is wrong, where, and what to do."""


class UnknownName(UserError, KeyError):
    """A name that is not in a list of allowed names; the message suggests the nearest one.

    Args:
        kind: What was named, for example `"method"`.
        name: What the user wrote.
        allowed: The names that exist.
    """

    def __init__(self, kind: str, name: str, allowed: Iterable[str]) -> None:
        names = sorted(allowed)
        nearest = get_close_matches(name, names, n=1, cutoff=0.4)
        hint = f" Did you mean {nearest[0]!r}?" if nearest else ""
        listed = ", ".join(names[:20]) + (", …" if len(names) > 20 else "")
        super().__init__(f"there is no {kind} {name!r}.{hint} Known: {listed}.")

    def __str__(self) -> str:  # KeyError would print the repr
        return str(self.args[0])


class StageMismatch(UserError, ValueError):
    """Teacher and student features that are compared do not fit together."""
