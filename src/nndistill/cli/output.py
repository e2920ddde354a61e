"""What commands print: a table for people, or one JSON object for programs."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich import print as rich_print
from rich.table import Table

if TYPE_CHECKING:
    import pandas as pd


def show(frame: pd.DataFrame, title: str) -> None:
    show_rows(
        [str(column) for column in frame.columns], {str(name): list(row) for name, row in frame.iterrows()}, title
    )


def show_rows(columns: Sequence[str], rows: Mapping[str, Sequence[object]], title: str) -> None:
    """As `show`, for commands that do without pandas."""
    table = Table(title=title, title_justify="left")
    for column in ["", *columns]:
        table.add_column(column, overflow="fold")
    for name, row in rows.items():
        table.add_row(name, *map(str, row))
    rich_print(table)


def print_json(value: Any) -> None:
    print(json.dumps(value, indent=2, default=float))


def workspace_option(workspace: Path | None) -> str:
    return f" --workspace {workspace}" if workspace else ""
