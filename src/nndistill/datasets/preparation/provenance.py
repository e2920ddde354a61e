"""A data set's folder records which files were made in it and from what; only those are ever replaced or deleted."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ...errors import UserError
from ...files import read_json, write_json

RECORD = "provenance.json"


def check_made_here(folder: Path) -> None:
    """Refuse a folder that holds files but no record, so that nothing is overwritten that was made elsewhere.

    Raises:
        UserError: It does, or cannot be read.
    """
    try:
        foreign = folder.exists() and any(folder.iterdir()) and not (folder / RECORD).exists()
    except OSError as error:
        raise UserError(f"{folder} cannot be read: {error.strerror}.") from error
    if foreign:
        raise UserError(f"{folder} holds something that nndistill did not make: choose another folder or number.")


def update_provenance(folder: Path, made_from: Mapping[str, object], files: Mapping[Path, object]) -> list[Path]:
    """Record what is about to be made from what, and delete files that were made from something else.

    If anything changes, `dataset.json` is deleted too, so that nnU-Net does not take an unfinished data set for a
    complete one.

    Args:
        folder: The data set's folder; it is made if it is missing.
        made_from: What all files depend on, in values that JSON can hold.
        files: The files that the data set will have, each with what it alone depends on.

    Returns:
        The files that still have to be made.

    Raises:
        UserError: The folder holds something that was not made here, or cannot be written.
    """
    check_made_here(folder)
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
