"""Checkpoint files: reading runs no code from them, and a kill while writing damages none."""

from __future__ import annotations

import io
import pickle
import random
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ...errors import UserError
from ...files import write_file


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Read an nnU-Net checkpoint onto the CPU.

    Only tensors, numbers, text and containers are accepted (and the numpy numbers in nnU-Net's log), so a
    checkpoint from an unknown source cannot run code.

    Raises:
        UserError: The file is missing or damaged, contains other objects, or is not an nnU-Net checkpoint.
    """
    if not path.is_file():
        raise UserError(f"there is no checkpoint {path}.")
    try:
        with torch.serialization.safe_globals(_numpy_numbers()):
            checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        reason = str(error).splitlines()[0]
        raise UserError(
            f"{path} is damaged, or contains Python objects that could run code; it was not loaded ({reason})."
        ) from error
    except (RuntimeError, EOFError, OSError, ValueError, KeyError) as error:
        raise UserError(f"{path} is damaged and cannot be read ({str(error).splitlines()[0]}).") from error
    missing = {"network_weights", "trainer_name", "init_args"} - set(checkpoint if isinstance(checkpoint, dict) else {})
    if missing:
        raise UserError(f"{path} is not a checkpoint of nnU-Net: it has no {', '.join(sorted(missing))}.")
    return dict(checkpoint)


def write_checkpoint(path: Path, checkpoint: dict[str, Any]) -> None:
    """Write a checkpoint. A kill or a full disk while writing leaves the previous file intact.

    Raises:
        UserError: The disk is full.
    """
    buffer = io.BytesIO()  # torch.save would report a full disk as a RuntimeError without a cause
    torch.save(checkpoint, buffer)
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


def _numpy_numbers() -> list[Any]:
    """The classes and functions in a pickled numpy number, under the names of numpy 1 and numpy 2."""
    from numpy._core.multiarray import scalar

    dtypes = {type(np.dtype(kind)) for kind in "?bBhHiIlLqQefd"}
    return [np.dtype, *dtypes, (scalar, "numpy.core.multiarray.scalar"), (scalar, "numpy._core.multiarray.scalar")]
