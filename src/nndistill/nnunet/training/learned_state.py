"""What a method learns from a teacher before a student is trained: learned once, kept in a file, found by later runs.

What is learned depends on the method's own key and the facts that the run gives, such as the teacher's checkpoint, and
on nothing else: the random numbers are always the same, whatever the run's seed, and the run continues with its own
ones as if nothing had happened. So if runs are repeatable at all (no augmentation in worker processes), one that
learned equals one that found.
"""

from __future__ import annotations

import json
import logging
import pickle
import time
from collections.abc import Callable, Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

import torch

from ...errors import UserError
from ...methods import Method
from ..models.checkpoints import own_random_numbers, write_checkpoint

logger = logging.getLogger(__name__)

_SEED = 1234
_SECONDS_BETWEEN_LOOKS = 1.0
_DAMAGE = (RuntimeError, EOFError, OSError, ValueError, LookupError, TypeError, AttributeError, pickle.UnpicklingError)


def provide_learned_state(
    method: Method,
    *,
    facts: Mapping[str, Any],
    folders: Sequence[Path],
    learn: Callable[[], None],
    may_learn: bool = True,
) -> bool:
    """Give a method what it has to learn from the teacher: from a file if there is one, or else learned now and kept.

    Args:
        method: A method that is not prepared.
        facts: What the learned state depends on besides the method's `learning_key`, in values that JSON can hold.
        folders: Where files are looked for; a new one is written to the first that can be written.
        learn: Prepares the method. It runs with random numbers of its own.
        may_learn: Whether to learn if there is no file; otherwise wait for one that another process writes.

    Returns:
        Whether a file was found.

    Raises:
        TypeError: The method learns, but has no `learning_key`.
        UserError: What was learned diverged, or could not be written anywhere.
    """
    key = method.learning_key()
    if key is None:
        raise TypeError(f"{type(method).__name__} learns from the teacher, so it needs a learning_key")
    learned_from = {**facts, "method": method.name, "key": dict(key)}
    files = [folder / _file_name(method, learned_from) for folder in folders]
    if not may_learn:
        while not _read(method, files, logging.DEBUG):  # another process learns; a collective call would time out
            time.sleep(_SECONDS_BETWEEN_LOOKS)
        return True
    if _read(method, files, logging.WARNING):
        return True
    with own_random_numbers(_SEED):
        learn()
    _write({"learned_from": learned_from, "state": method.learned_state()}, files)
    return False


def _file_name(method: Method, learned_from: Mapping[str, Any]) -> str:
    digest = sha256(json.dumps(learned_from, sort_keys=True).encode()).hexdigest()
    return f"learned_by_{method.name}_{digest[:16]}.pt"


def _read(method: Method, files: Sequence[Path], level: int) -> bool:
    """Load the first file that can be used; log at `level` why an existing one cannot."""
    for file in files:
        if not file.is_file():
            continue
        try:
            method.load_learned_state(torch.load(file, map_location="cpu", weights_only=True)["state"])
        except _DAMAGE as error:
            reason = (str(error) or type(error).__name__).splitlines()[0]
            logger.log(level, "%s is damaged (%s); %s learns from the teacher again.", file, reason, method.name)
        else:
            return True
    return False


def _write(content: dict[str, Any], files: Sequence[Path]) -> None:
    *others, last = files
    for file in others:
        try:
            write_checkpoint(file, content)
        except UserError as error:
            logger.warning("What was learned from the teacher cannot be kept there and goes to %s: %s", last, error)
        else:
            return
    write_checkpoint(last, content)
