"""Which checkpoint a training goes on from: the newest one that is whole."""

from __future__ import annotations

import logging
import os
import shutil
from pathlib import Path

from ...errors import UserError
from ..models.checkpoints import DamagedCheckpoint, read_checkpoint

logger = logging.getLogger(__name__)

FINAL, LATEST, PREVIOUS, BEST = (f"checkpoint_{name}.pth" for name in ("final", "latest", "previous", "best"))

_DAMAGED = ".damaged"


def keep_previous(latest: Path) -> None:
    """Keep the checkpoint that is about to be replaced, under another name; at every moment both names are whole.

    Args:
        latest: It need not be there.
    """
    if not latest.is_file():
        return
    previous = latest.with_name(PREVIOUS)
    temporary = previous.with_name(f".{PREVIOUS}.{os.getpid()}.tmp")
    try:
        temporary.hardlink_to(latest)
    except OSError:  # a file system that knows no links
        shutil.copyfile(latest, temporary)
    temporary.replace(previous)


def newest_checkpoint(folder: Path) -> Path | None:
    """Return the checkpoint from which a training goes on, or `None` if there is none.

    Checkpoints that are damaged are renamed, so that nothing takes them for results, and named in a warning.

    Args:
        folder: Of the training's fold.

    Raises:
        UserError: There are checkpoints, and all of them are damaged, or were when a training started before; or one
            cannot be read at the moment, and may be whole.
    """
    damaged: list[str] = []
    if _epoch(folder / FINAL, damaged) is not None:
        return _chosen(folder / FINAL, damaged)
    epochs = {name: _epoch(folder / name, damaged) for name in (LATEST, BEST)}
    if epochs[LATEST] is None:
        epochs[PREVIOUS] = _epoch(folder / PREVIOUS, damaged)
    known = {name: epoch for name, epoch in epochs.items() if epoch is not None}
    if known:
        return _chosen(folder / max(known, key=lambda name: known[name]), damaged)
    if damaged or any(folder.glob(f"checkpoint_*.pth{_DAMAGED}")):
        reasons = " ".join(damaged) or "all are damaged."
        raise UserError(f"no checkpoint in {folder} can be read: {reasons} Delete {folder} to train from the start.")
    return None


def _epoch(file: Path, damaged: list[str]) -> int | None:
    """How many epochs a checkpoint holds; if it is damaged, that is noted."""
    if not file.is_file():
        return None
    try:
        return int(read_checkpoint(file)["current_epoch"])
    except (DamagedCheckpoint, KeyError, ValueError, TypeError) as error:
        file.replace(file.with_name(f"{file.name}{_DAMAGED}"))
        damaged.append(str(error) if isinstance(error, UserError) else f"{file} names no epoch.")
        return None


def _chosen(file: Path, damaged: list[str]) -> Path:
    for sentence in damaged:
        logger.warning("%s The training goes on from %s.", sentence, file.name)
    return file
