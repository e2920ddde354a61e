"""Checkpoint files: reading runs no code from them, a kill while writing damages none, and damage shows.

A checkpoint is a zip archive, as PyTorch writes it, whose comment holds the digest of everything before it. PyTorch
passes over the comment, so that stock nnU-Net reads these files too.
"""

from __future__ import annotations

import io
import pickle
import random
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

import numpy as np
import torch

from ...errors import UserError
from ...files import write_file

_MARK = b"nndistill sha256 "
_COMMENT = len(_MARK) + 64
"""Bytes of the comment: the mark, and a SHA-256 in hexadecimal digits."""
_LAST_RECORD = 22
"""Bytes of a zip archive's last record, which ends with the length of the comment."""
_LENGTH = 2
_BLOCK = 1 << 20


class DamagedCheckpoint(UserError):
    """The file does not hold what was written."""


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Read an nnU-Net checkpoint onto the CPU.

    Only tensors, numbers, text and containers are accepted, and the numpy numbers and arrays and the paths that
    trainers put into their logs, so a checkpoint from an unknown source cannot run code. A path of another operating
    system is read as what it is, a pure path.

    Raises:
        DamagedCheckpoint: The file is empty, cut short or changed.
        UserError: The file is missing or cannot be read at the moment, contains other objects, or is not an nnU-Net
            checkpoint.
    """
    if not path.is_file():
        raise UserError(f"there is no checkpoint {path}.")
    _refuse_other_file(path)
    try:
        whole = _has_its_digest(path)
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}.") from error
    if whole is False:
        raise DamagedCheckpoint(f"{path} is damaged: its content does not have the digest that it was written with.")
    try:
        with torch.serialization.safe_globals([*_numpy_values(), *_paths()]):
            checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        # torch's own message goes on to advise loading the file without this check
        found = re.search(r"GLOBAL (\S+)", str(error))
        if found:
            raise UserError(
                f"{path} contains the Python object {found[1]}, which could run code when it is loaded; it was not "
                "loaded. Save it again with nothing but tensors, numbers, text, lists and dictionaries."
            ) from error
        kind = UserError if whole else DamagedCheckpoint
        raise kind(f"{path} is damaged, or contains Python objects that could run code; it was not loaded.") from error
    except (RuntimeError, EOFError, OSError, MemoryError, ValueError, LookupError, TypeError, AttributeError) as error:
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        if whole or isinstance(error, (OSError, MemoryError)) or "allocate memory" in str(error):
            raise UserError(f"{path} cannot be read ({reason}).") from error
        raise DamagedCheckpoint(f"{path} is damaged and cannot be read ({reason}).") from error
    _refuse_other_content(path, checkpoint)
    return dict(checkpoint)


def write_checkpoint(path: Path, checkpoint: dict[str, Any]) -> None:
    """Write a checkpoint with its digest. A kill or a full disk while writing leaves the previous file intact.

    Raises:
        UserError: The disk is full.
    """
    buffer = io.BytesIO()  # torch.save would report a full disk as a RuntimeError without a cause
    torch.save(checkpoint, buffer)
    content = buffer.getbuffer()
    content[-_LENGTH:] = _COMMENT.to_bytes(_LENGTH, "little")
    comment = _MARK + sha256(content).hexdigest().encode()
    content.release()
    buffer.seek(0, io.SEEK_END)
    buffer.write(comment)
    write_file(path, buffer.getbuffer())


def random_state() -> dict[str, Any]:
    """Return the state of all random number generators, as tensors and plain numbers."""
    name, keys, position, has_gauss, cached = np.random.get_state(legacy=True)
    return {
        "python": random.getstate(),
        "numpy": (name, torch.from_numpy(np.asarray(keys, dtype=np.int64)), position, has_gauss, cached),
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
    }


def restore_random_state(state: dict[str, Any]) -> None:
    """Continue the random numbers from where `random_state` was called."""
    random.setstate(state["python"])
    name, keys, position, has_gauss, cached = state["numpy"]
    np.random.set_state((name, keys.numpy().astype(np.uint32), position, has_gauss, cached))
    torch.set_rng_state(state["torch"].cpu())
    if len(state["cuda"]) == torch.cuda.device_count() and state["cuda"]:
        torch.cuda.set_rng_state_all([s.cpu() for s in state["cuda"]])


def seed_everything(seed: int) -> None:
    """Seed Python, numpy and torch on every device."""
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)


@contextmanager
def own_random_numbers(seed: int) -> Iterator[None]:
    """Give a block the random numbers of a seed; afterwards those from before continue as if nothing had been drawn."""
    state = random_state()
    seed_everything(seed)
    try:
        yield
    finally:
        restore_random_state(state)


def _refuse_other_file(path: Path) -> None:
    """Refuse what `torch.save` has not written, of which torch would complain in the terms of its file formats."""
    try:
        with path.open("rb") as file:
            start = file.read(64)
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}.") from error
    if not start:
        raise DamagedCheckpoint(f"{path} is empty; copy it again.")
    if start.startswith(b"version https://git-lfs"):
        raise UserError(f"{path} is Git LFS's stand-in for the checkpoint; fetch the checkpoint with git lfs pull.")
    if start.isascii() and min(start) >= ord("\t"):  # a zip archive and a pickle hold other bytes soon
        raise UserError(f"{path} is a text, not a checkpoint; download it again.")


def _has_its_digest(path: Path) -> bool | None:
    """Whether a file has the content of which it holds the digest; `None` if it holds none."""
    size = path.stat().st_size - _COMMENT
    if size < _LAST_RECORD:
        return None
    digest = sha256()
    with path.open("rb") as file:
        left = size
        while block := file.read(min(left, _BLOCK)):
            digest.update(block)
            left -= len(block)
        comment = file.read()
        file.seek(size - _LAST_RECORD)
        record = file.read(_LAST_RECORD)
    expected = _MARK + digest.hexdigest().encode()
    announced = record.startswith(b"PK\5\6") and record.endswith(_COMMENT.to_bytes(_LENGTH, "little"))
    if comment == expected:
        return True
    return False if announced or comment.startswith(_MARK) else None


def _refuse_other_content(path: Path, checkpoint: Any) -> None:
    expected = {"network_weights": Mapping, "trainer_name": str, "init_args": Mapping}
    given = checkpoint if isinstance(checkpoint, dict) else {}
    if missing := sorted(expected.keys() - given.keys()):
        raise UserError(f"{path} is not a checkpoint of nnU-Net: it has no {', '.join(missing)}.")
    other = next((key for key, kind in expected.items() if not isinstance(given[key], kind)), None)
    if other is None and not all(isinstance(value, torch.Tensor) for value in given["network_weights"].values()):
        other = "network_weights"
    if other is not None:
        raise UserError(f"{path} is not a checkpoint of nnU-Net: its {other} is of another kind.")


def _numpy_values() -> list[Any]:
    """The classes and functions in pickled numpy numbers and arrays, under the names of numpy 1 and numpy 2."""
    from numpy._core.multiarray import _reconstruct, scalar

    dtypes = {type(np.dtype(kind)) for kind in "?bBhHiIlLqQefdgFDSU"}
    functions = [
        (function, f"numpy.{core}.multiarray.{function.__name__}")
        for function in (scalar, _reconstruct)
        for core in ("core", "_core")
    ]
    return [np.dtype, np.ndarray, bytes, *dtypes, *functions]  # the bytes are those of an empty array


def _paths() -> list[Any]:
    """The classes of pickled paths, under their names in all versions of Python, without access to the file system."""
    kinds = {"PurePosixPath": PurePosixPath, "PureWindowsPath": PureWindowsPath}
    kinds |= {"PosixPath": PurePosixPath, "WindowsPath": PureWindowsPath}
    return [(kind, f"{module}.{name}") for name, kind in kinds.items() for module in ("pathlib", "pathlib._local")]
