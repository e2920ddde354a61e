"""What goes wrong with any runtime: it is not installed, or has no such device."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ...errors import UserError


@contextmanager
def installed(package: str, extra: str) -> Iterator[None]:
    """Around the import of a runtime.

    Raises:
        UserError: It is not installed; the sentence says how to.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        if error.name is None or error.name.split(".")[0] != package:
            raise
        raise UserError(f'{package} is not installed; run: pip install "nndistill[{extra}]".') from error


def unreadable(file: Path, runtime: str, error: Exception) -> UserError:
    """A network's file that a runtime refuses."""
    reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
    return UserError(f"{runtime} cannot read {file} ({reason}); it is damaged. Copy it anew, or export again.")
