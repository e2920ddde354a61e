"""Look for the folders of cases in a download, however deep it was unpacked."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

from ..errors import UserError

DEPTH = 4
"""How many folders deep to look."""


def find_folders(root: Path, name: re.Pattern[str]) -> tuple[list[Path], dict[str, str]]:
    """Find the folders with a certain name, in the order of their paths; `root` itself may be one.

    A folder is searched once, even if links lead to it. Found folders are not searched. Hidden folders, what macOS
    leaves in archives, and `derivatives` are skipped.

    Args:
        root: Where to look.
        name: Pattern that the whole name of a folder has to match.

    Returns:
        The folders; and a sentence on each folder that cannot be read, by its name.

    Raises:
        UserError: `root` is not a folder.
    """
    if not root.is_dir():
        raise UserError(f"{root} is not a folder." if root.exists() else f"{root} is missing.")
    unreadable: dict[str, str] = {}
    return list(_search(root.absolute(), name, unreadable, set(), DEPTH)), unreadable


def image_file(path: Path) -> Path:
    """A NIfTI file under the name that it should have, or, if only that exists, with or without compression.

    Example:
        >>> from tempfile import mkdtemp
        >>> folder = Path(mkdtemp())
        >>> (folder / "a.nii").touch()
        >>> image_file(folder / "a.nii.gz").name, image_file(folder / "b.nii.gz").name
        ('a.nii', 'b.nii.gz')
    """
    other = path.with_name(path.name.removesuffix(".gz") if path.suffix == ".gz" else f"{path.name}.gz")
    return other if not path.exists() and other.is_file() else path


def subfolders(folder: Path) -> list[Path]:
    """List the folders in a folder, sorted, without those that never hold cases.

    Raises:
        OSError: It cannot be read.
    """
    with os.scandir(folder) as entries:
        found = [Path(entry.path) for entry in entries if entry.is_dir()]
    return sorted(path for path in found if not path.name.startswith((".", "__")) and path.name != "derivatives")


def _search(
    folder: Path, name: re.Pattern[str], unreadable: dict[str, str], seen: set[Path], depth: int
) -> Iterator[Path]:
    if (real := folder.resolve()) in seen:
        return
    seen.add(real)
    try:
        inner = subfolders(folder)
    except OSError as error:
        unreadable[folder.name] = f"{folder} cannot be read: {error.strerror}."
        return
    if name.fullmatch(folder.name) and folder.name not in {path.name for path in inner}:
        yield folder
    elif depth:
        for path in inner:
            yield from _search(path, name, unreadable, seen, depth - 1)
