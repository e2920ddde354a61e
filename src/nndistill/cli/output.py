"""What commands print: a table for people, or one JSON object for programs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich import print as rich_print
from rich.table import Table

if TYPE_CHECKING:
    import pandas as pd


def show(frame: pd.DataFrame, title: str) -> None:
    table = Table(title=title, title_justify="left")
    for column in ["", *frame.columns]:
        table.add_column(str(column), overflow="fold")
    for name, row in frame.iterrows():
        table.add_row(str(name), *(str(value) for value in row))
    rich_print(table)


def print_json(value: Any) -> None:
    print(json.dumps(value, indent=2, default=float))


def workspace_option(workspace: Path | None) -> str:
    return f" --workspace {workspace}" if workspace else ""
