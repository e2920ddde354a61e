"""What goes wrong with any runtime."""

from __future__ import annotations

from pathlib import Path

from ...errors import UserError


def unreadable(file: Path, runtime: str, error: Exception) -> UserError:
    """The sentence for a network's file that a runtime refuses."""
    reason = (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")
    return UserError(f"{runtime} cannot read {file} ({reason}); it is damaged. Copy it anew, or export again.")
