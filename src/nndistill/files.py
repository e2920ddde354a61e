"""Files that are either complete or absent: each is written next to its path, then renamed."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from math import isfinite
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

from filelock import FileLock, Timeout

from .errors import UserError

CANNOT_WRITE = {errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR}
"""Numbers of the errors that mean that a place cannot be written, and not that something is wrong with the program."""


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Give a temporary path next to `path`, and rename it to `path` at the end of the block.

    A kill or an error in the block leaves `path` as it was.

    Raises:
        UserError: The disk is full.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        yield temporary
        if not temporary.is_symlink():  # opening a link would open the file it leads to, which may be read-only
            with temporary.open("r+b") as written:
                os.fsync(written.fileno())
        temporary.replace(path)
    except OSError as error:
        if error.errno not in {errno.ENOSPC, errno.EDQUOT}:
            raise
        kept = " The previous version is intact." if path.exists() else ""
        raise UserError(
            f"the disk is full: {path} could not be written.{kept} Free some space and continue."
        ) from error
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """Give an empty folder next to `path`, which replaces `path` at the end of the block.

    An error in the block leaves `path` as it was.

    Raises:
        UserError: The folder cannot be written, or the disk is full.
    """
    temporary, replaced = (path.with_name(f".{path.name}.{os.getpid()}.{what}.tmp") for what in ("new", "old"))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.mkdir()
        yield temporary
        if path.exists():
            path.rename(replaced)
        temporary.rename(path)
    except OSError as error:
        if error.errno not in CANNOT_WRITE:
            raise
        raise UserError(f"cannot write {path}: {error.strerror}.") from error
    finally:
        if replaced.exists() and not path.exists():
            replaced.rename(path)
        for leftover in (temporary, replaced):
            shutil.rmtree(leftover, ignore_errors=True)


def locked(
    file: Path, busy: str, *, wait: float = 0.0, option: str | tuple[str, ...] = ()
) -> AbstractContextManager[object]:
    """Lock a file for a block: one process at a time. The lock ends with the process, however that ends.

    Args:
        file: It is made if it is not there, and holds nothing. On a disk that knows no locks there is none.
        busy: What a user is told if another process has it.
        wait: Seconds to wait for it.
        option: As in `UserError`.

    Raises:
        UserError: Another process has it.
    """
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        return FileLock(file).acquire(timeout=wait)
    except Timeout:
        raise UserError(busy, option=option) from None
    except OSError:
        return nullcontext()


def check_writable(path: Path, *, option: str | tuple[str, ...] = ()) -> None:
    """Refuse a place where no file can be made, before anything is computed for it. Nothing is left there.

    Args:
        path: A file or a folder that is to be made; folders above it may be missing, too.
        option: As in `UserError`.

    Raises:
        UserError: The disk is full, or nothing can be written there.
    """
    try:
        with TemporaryFile(dir=next((folder for folder in path.absolute().parents if folder.exists()), path)):
            pass
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror}.", option=option) from error


def write_file(path: Path, content: bytes | memoryview) -> None:
    """Write a file that is complete or absent, however the process ends.

    Raises:
        UserError: The file cannot be written, or the disk is full.
    """
    try:
        with atomic_path(path) as temporary:
            temporary.write_bytes(content)
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror}.") from error


def write_json(path: Path, content: Mapping[str, object]) -> None:
    """Write a JSON object as `write_file` does; numbers that are not finite become null."""
    write_file(path, _json(content))


def _json(content: Any) -> bytes:
    return (json.dumps(in_json(content), indent=2, ensure_ascii=False, allow_nan=False) + "\n").encode()


def in_json(content: Any) -> Any:
    """Content as JSON can hold it: None in place of NaN and infinity, plain numbers in place of numpy's.

    Example:
        >>> in_json([1.5, float("inf"), {"a": float("nan")}])
        [1.5, None, {'a': None}]
    """
    if isinstance(content, Mapping):
        return {key: in_json(value) for key, value in content.items()}
    if isinstance(content, (list, tuple)):
        return [in_json(value) for value in content]
    if content is None or isinstance(content, (str, bool, int)):
        return content
    number = float(content)
    return number if isfinite(number) else None


def update_json(path: Path, content: Any) -> None:
    """Write JSON, unless the file has this content already: an unchanged file keeps its modification time."""
    text = _json(content)
    if not path.is_file() or path.read_bytes() != text:
        write_file(path, text)


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object from a file.

    Raises:
        UserError: The file is missing or unreadable, is not in UTF-8, does not contain a JSON object, or has a key
            twice.
    """

    def once(entries: list[tuple[str, Any]]) -> dict[str, Any]:
        content = dict(entries)
        if len(content) < len(entries):  # Python would keep the last one and say nothing
            keys = [key for key, _ in entries]
            twice = next(key for key in content if keys.count(key) > 1)
            raise UserError(f"{path} has the key {twice!r} twice in one object; remove one of them, or rename it.")
        return content

    try:
        content = json.loads(path.read_text(encoding="utf-8"), object_pairs_hook=once)
    except FileNotFoundError:
        raise UserError(f"{path} is missing.") from None
    except UnicodeDecodeError:
        raise UserError(f"{path} is in another encoding than UTF-8: save it in UTF-8.") from None
    except (OSError, ValueError, RecursionError) as error:
        if "BOM" in str(error):  # which nnU-Net does not read either
            raise UserError(f"{path} begins with a byte order mark: save it in UTF-8 without one.") from None
        raise UserError(f"{path} cannot be read as JSON: {error}.") from error
    if not isinstance(content, dict):
        raise UserError(f"{path} holds no JSON object.")
    return content


def digest(file: Path) -> str:
    """SHA-256 of a file's content, in hexadecimal.

    Raises:
        OSError: The file is missing or cannot be read.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> with TemporaryDirectory() as folder:
        ...     _ = (Path(folder) / "empty").write_bytes(b"")
        ...     digest(Path(folder) / "empty")[:8]
        'e3b0c442'
    """
    sha256 = hashlib.sha256()
    with file.open("rb") as content:
        while block := content.read(1 << 20):
            sha256.update(block)
    return sha256.hexdigest()
