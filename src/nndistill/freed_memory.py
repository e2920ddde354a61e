"""Memory that the process has freed, kept for what it allocates next.

A training step on a processor allocates and frees the same large blocks again and again. By default glibc hands such
blocks back to the system, which fills every page with zeros when it is touched next: each step pays for that with many
thousands of page faults.
"""

from __future__ import annotations

import ctypes
import os

_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4
"""Parameters of `mallopt` in glibc's `malloc.h`."""

_VARIABLES = ("MALLOC_TRIM_THRESHOLD_", "MALLOC_TOP_PAD_", "MALLOC_MMAP_THRESHOLD_", "MALLOC_MMAP_MAX_")


def keep_freed_memory() -> bool:
    """Let glibc keep what the process frees: no block in a mapping of its own, and no end of the heap given back.

    The process then stays as large as it once was until it ends, and is a little larger than it would be: blocks of
    unlike sizes share one heap. Nothing happens if the C library is another one
    (musl, macOS, Windows), or if the user has set one of glibc's own variables (`MALLOC_MMAP_THRESHOLD_` and so on, or
    `GLIBC_TUNABLES` with a value of `glibc.malloc`).

    Returns:
        Whether it is so from now on.

    Source:
        mallopt(3), `M_MMAP_MAX` and `M_TRIM_THRESHOLD`.

    Example:
        >>> keep_freed_memory() == keep_freed_memory()
        True
    """
    if any(name in os.environ for name in _VARIABLES) or "glibc.malloc." in os.environ.get("GLIBC_TUNABLES", ""):
        return False
    mallopt = _mallopt()
    return mallopt is not None and bool(mallopt(_M_MMAP_MAX, 0)) and bool(mallopt(_M_TRIM_THRESHOLD, -1))


def _mallopt() -> ctypes._NamedFuncPointer | None:
    """The function of the C library that this process runs with; only glibc has it."""
    try:
        library = ctypes.CDLL(None)
    except (OSError, TypeError):  # Windows has no such thing
        return None
    return getattr(library, "mallopt", None)
