"""A data set's folder knows which files were made in it and from what: those are kept or replaced, no others."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..errors import UserError
from ..files import read_json, write_json

RECORD = "provenance.json"


def check_claimable(folder: Path) -> None:
    """Refuse a folder that holds somebody else's files.

    Raises:
        UserError: It does, or cannot be looked into.
    """
    try:
        foreign = folder.exists() and any(folder.iterdir()) and not (folder / RECORD).exists()
    except OSError as error:
        raise UserError(f"{folder} cannot be read: {error.strerror}.") from error
    if foreign:
        raise UserError(f"{folder} holds something that nndistill did not make: choose another place or number.")


def claim(folder: Path, made_from: Mapping[str, object], files: Mapping[Path, object]) -> list[Path]:
    """Make the folder ready: its record says what is made from what, and files made from something else are gone.

    When anything changes, `dataset.json` goes too: nnU-Net must not take an unfinished data set for a whole one.

    Args:
        folder: The data set's folder; made when missing.
        made_from: What all files depend on, as JSON writes it.
        files: The files that are going to be there, each with what it alone depends on.

    Returns:
        The files that are still to be made.

    Raises:
        UserError: The folder holds something without a record, which was not made here, or cannot be written.
    """
    check_claimable(folder)
    record = json.loads(
        json.dumps({"made_from": made_from, "files": {str(p.relative_to(folder)): mark for p, mark in files.items()}})
    )
    before = read_json(folder / RECORD) if (folder / RECORD).exists() else {}
    try:
        for leftover in folder.rglob(".*.tmp"):
            leftover.unlink()
        if before != record:
            (folder / "dataset.json").unlink(missing_ok=True)
            for name in {*before.get("files", {}), *record["files"]} - _unchanged(before, record):
                (folder / name).unlink(missing_ok=True)
    except OSError as error:
        raise UserError(f"cannot clear {folder}: {error.strerror}.") from error
    if before != record:
        write_json(folder / RECORD, record)
    return [path for path in files if not path.exists()]


def _unchanged(before: dict[str, Any], record: dict[str, Any]) -> set[str]:
    if before.get("made_from") != record["made_from"]:
        return set()
    files = before.get("files", {})
    return {name for name, mark in record["files"].items() if name in files and files[name] == mark}
