"""Replaces a line `[Table](measured/NAME.csv)` in the pages by that table, and by how its numbers came about.

The tables are in `docs/results/measured`, and `sources.yaml` there has command, processor, commit and date of each, so
no table is shown without them. `draw_charts.py` draws the same files.
"""

from __future__ import annotations

import csv
import re
from pathlib import Path
from typing import Any, NamedTuple

import yaml

FOLDER = Path(__file__).parent / "results" / "measured"

_LINE = re.compile(r"^\[Table\]\((measured/([\w-]+)\.csv)\)$", re.MULTILINE)
_NUMBER = re.compile(r"[-+−–≤]?\d|[–]?$")


class Source(NamedTuple):
    """Where the numbers of a table come from; without one of the first four there is no table."""

    command: str
    processor: str
    commit: str
    date: Any
    software: str = ""


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Called by MkDocs with the text of every page."""
    return _LINE.sub(lambda line: f"{markdown_table(line[2])}\n\n{_provenance(line[2], line[1])}", markdown)


def rows(name: str) -> list[dict[str, str]]:
    """The rows of a table, each cell by the heading of its column."""
    with (FOLDER / f"{name}.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file, strict=True))


def sources() -> dict[str, Source]:
    """Where each table comes from."""
    content = yaml.safe_load((FOLDER / "sources.yaml").read_text(encoding="utf-8"))
    return {name: Source(**source) for name, source in content.items()}


def markdown_table(name: str) -> str:
    """The table; columns of numbers are aligned to the right."""
    content = rows(name)
    headings = list(content[0])
    aligned = ["---:" if all(_NUMBER.match(row[heading]) for row in content) else "---" for heading in headings]
    lines = [headings, aligned, *([row[heading] for heading in headings] for row in content)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _provenance(name: str, file: str) -> str:
    source = sources()[name]
    software = f"{source.software}; " if source.software else ""
    date = f"{source.date.day} {source.date:%B %Y}"
    origin = f"Processor: {source.processor}; {software}commit {source.commit}, {date}."
    return f"*`{source.command}`. {origin} [As CSV]({file})*"
