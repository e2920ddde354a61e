"""Memory that Linux's control groups leave to this process: within the limit of a container, or of a cluster's job."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

_NO_LIMIT = 2**62
"""The first version of control groups states a huge limit where there is none."""


def memory_left(*, groups: Path = Path("/proc/self/cgroup"), mounted_at: Path = Path("/sys/fs/cgroup")) -> int | None:
    """Return the bytes that the tightest group of this process has left; `None` if no group has a limit.

    Files that the kernel holds in memory and can drop count as left. Source: the kernel's documentation,
    `admin-guide/cgroup-v2.rst` and `admin-guide/cgroup-v1/memory.rst`.

    Args:
        groups: The kernel's list of the groups of this process.
        mounted_at: Where control groups are mounted.

    Example:
        >>> memory_left(groups=Path("nowhere")) is None
        True
    """
    try:
        lines = groups.read_text().splitlines()
    except OSError:  # another system
        return None
    left = [
        _limit_less_use(folder, *names)
        for line in lines
        for number, controllers, path in [line.split(":", maxsplit=2)]
        for names, mount in _hierarchies(number, controllers.split(","), mounted_at)
        for folder in _upwards(mount, path)
    ]
    return min((count for count in left if count is not None), default=None)


def _hierarchies(number: str, controllers: list[str], mounted_at: Path) -> Iterator[tuple[tuple[str, str, str], Path]]:
    """Names of the files with limit, use and what can be dropped of it, and the folder in which the groups are."""
    if "memory" in controllers:
        yield ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"), mounted_at / "memory"
    if number == "0":
        for mount in (mounted_at, mounted_at / "unified"):
            yield ("memory.max", "memory.current", "inactive_file"), mount


def _upwards(mount: Path, path: str) -> Iterator[Path]:
    """The folder of a group and of those above it; in a container, only the last one is there."""
    group = mount / path.lstrip("/")
    yield group
    yield from (folder for folder in group.parents if folder.is_relative_to(mount))


def _limit_less_use(folder: Path, limit: str, use: str, droppable: str) -> int | None:
    try:
        stated, used = (folder / limit).read_text().strip(), int((folder / use).read_text())
        entries = dict(line.split() for line in (folder / "memory.stat").read_text().splitlines())
    except OSError:
        return None
    allowed = _NO_LIMIT if stated == "max" else int(stated)
    return None if allowed >= _NO_LIMIT else max(0, allowed - used + int(entries.get(droppable, 0)))
