"""Which models are measured, under which names and in which runtimes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ..errors import UnknownName, UserError
from ..runtime.description import FILE_NAME
from ..runtime.formats import RUNTIMES
from ..runtime.loading import backends_of


@dataclass(frozen=True)
class Candidate:
    """A model to measure.

    Args:
        name: Shown in tables and figures; no two candidates have the same.
        path: An exported folder, or an nnU-Net model folder.
        backend: The runtime that computes it.
    """

    name: str
    path: Path
    backend: str

    @property
    def is_export(self) -> bool:
        """Whether it is an exported folder, which holds its folds, and so needs none to be chosen."""
        return (self.path / FILE_NAME).is_file()


def find_candidates(given: Sequence[str], backends: Sequence[str] = ()) -> list[Candidate]:
    """Find the models that a user names.

    Args:
        given: `PATH`, which is named after its folder, or `NAME=PATH`.
        backends: Each model is measured in those of these that can compute it; if there are none, in the default
            runtime for its format.

    Raises:
        UnknownName: A backend does not exist.
        UserError: A model does not exist, or two have the same name.
    """
    if unknown := next((backend for backend in backends if backend not in RUNTIMES), None):
        raise UnknownName("backend", unknown, RUNTIMES, option="backend")
    candidates = []
    for text in given:
        name, path = _name_and_path(text)
        able = backends_of(path)
        chosen = [backend for backend in dict.fromkeys(backends) if backend in able] or [able[0]]
        candidates += [
            Candidate(name if len(chosen) == 1 else f"{name} ({backend})", path, backend) for backend in chosen
        ]
    names = [candidate.name for candidate in candidates]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise UserError(f"two models are named {twice!r}; tell them apart: NAME={candidates[names.index(twice)].path}.")
    return candidates


def _name_and_path(text: str) -> tuple[str, Path]:
    name, equals, path = text.partition("=")
    if not equals or Path(text).is_dir():
        return Path(text).resolve().name, Path(text)
    if not name or not path:
        raise UserError(f"{text} is not of the form NAME=MODEL.")
    return name, Path(path)
