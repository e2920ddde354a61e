"""How commands print results: as a table for people, or as one JSON object for programs."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich import print as rich_print
from rich.table import Table

from ..files import in_json

if TYPE_CHECKING:
    import pandas as pd


def show(frame: pd.DataFrame, title: str) -> None:
    """Print a data frame as a table."""
    rows = {str(name): list(row) for name, row in frame.iterrows()}
    show_rows([str(column) for column in frame.columns], rows, title)


def show_rows(columns: Sequence[str], rows: Mapping[str, Sequence[object]], title: str) -> None:
    """Print rows by name as a table, without pandas, which a workstation that only predicts does not have."""
    table = Table(title=title, title_justify="left")
    for column in ["", *columns]:
        table.add_column(column, overflow="fold")
    for name, row in rows.items():
        table.add_row(name, *map(str, row))
    rich_print(table)


def print_json(value: Any) -> None:
    """Print a value as JSON; numbers of numpy become plain ones, and those that are not finite null."""
    print(json.dumps(in_json(value), indent=2, allow_nan=False))


def print_next(*words: object, heading: str = "Next: ") -> None:
    """Print the command that comes next as a line to paste into a shell, whatever the names of its folders are."""
    print(heading + shlex.join(map(str, words)))


def workspace_option(workspace: Path | None) -> list[str]:
    """The option to append to a command that is to use the same workspace."""
    return ["--workspace", str(workspace)] if workspace else []
