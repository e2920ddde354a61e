"""What other libraries print: off the terminal, where it would disturb a progress bar or the JSON of a command."""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path


@contextmanager
def suppress_output(log: Path | None = None) -> Iterator[None]:
    """Keep what the block prints off standard output. Errors, warnings and log records still reach the terminal.

    Args:
        log: File to append it to; its folder is made if needed. Default: nothing is kept.
    """
    if log is not None:
        log.parent.mkdir(parents=True, exist_ok=True)
    with (log or Path(os.devnull)).open("a", encoding="utf-8") as file, redirect_stdout(file):
        yield


@contextmanager
def suppress_warnings() -> Iterator[None]:
    """Drop the warnings of the block and its log records below errors."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
