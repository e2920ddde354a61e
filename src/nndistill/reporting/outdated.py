"""What an earlier report left beside a new one that does not have it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path


def delete_outdated(report: Path, names: Iterable[str], written: Sequence[Path]) -> None:
    """Delete the tables and figures that not every report has, apart from those that were just written.

    Args:
        report: Folder of the report.
        names: Names of the tables and figures, which may hold `*`.
        written: Files of the new report.
    """
    for name in names:
        for file in {*report.glob(f"tables/{name}.*"), *report.glob(f"figures/{name}.*")}.difference(written):
            file.unlink()
