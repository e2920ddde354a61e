"""A table of a report, with its title and caption, written as Markdown, LaTeX and CSV."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import groupby
from math import isfinite, nan
from pathlib import Path

import pandas as pd

from ...files import write_file


@dataclass(frozen=True)
class Cell:
    """A number with its error, or a text.

    Args:
        value: What is written, and what a table is sorted by.
        error: Standard error or standard deviation, as the column says.
        count: Number of values of a mean.
        best: Whether it is written in bold.
    """

    value: float | str
    error: float = nan
    count: int | None = None
    best: bool = False


@dataclass(frozen=True)
class Column:
    """A column of numbers.

    Args:
        heading: Heading of the column.
        group: Second heading above it, shared with neighbours of the same group.
        write: Turns a number into text, also the error.
        cases: Number of values of a mean without gaps; a mean over fewer states their number.
        error_name: What the error is, for files: `SEM`, or `SD`.
        count_name: What is counted, for files: `n`, or `seeds`.
    """

    heading: str
    group: str = ""
    write: Callable[[float], str] = str
    cases: int | None = None
    error_name: str = "SEM"
    count_name: str = "n"

    def text(self, cell: Cell) -> str:
        """`0.873 ± 0.012`, followed by `(2)` if it is a mean over 2 cases only."""
        return " ".join(part for part in (self.mean(cell), self.error(cell), self.fewer(cell)) if part)

    def mean(self, cell: Cell) -> str:
        """The value alone; `–` if there is none."""
        if isinstance(cell.value, str):
            return cell.value
        return self.write(cell.value) if isfinite(cell.value) else "–"

    def error(self, cell: Cell) -> str:
        """`± 0.012`, or nothing."""
        return f"± {self.write(cell.error)}" if isfinite(cell.error) else ""

    def fewer(self, cell: Cell) -> str:
        """`(2)` for a mean over 2 cases if the table has more."""
        return f"({cell.count})" if cell.count is not None and cell.count != self.cases else ""


@dataclass(frozen=True)
class Table:
    """Rows of cells below columns.

    Args:
        name: File name without an ending, and its anchor in the HTML page.
        title: What it shows, in a few words.
        caption: How to read it.
        stubs: Headings of the columns that name the rows.
        columns: The columns of numbers.
        rows: The names of each row, as many as stubs, and its cells, as many as columns.
    """

    name: str
    title: str
    caption: str
    stubs: Sequence[str]
    columns: Sequence[Column]
    rows: Sequence[tuple[Sequence[str], Sequence[Cell]]]

    @property
    def groups(self) -> list[tuple[str, int]]:
        """Group headings, each with the number of its columns; empty if no column has a group."""
        if not any(column.group for column in self.columns):
            return []
        return [(group, len(list(columns))) for group, columns in groupby(column.group for column in self.columns)]

    def markdown(self) -> str:
        """The table in Markdown, for GitHub and mkdocs."""
        headings = [*self.stubs, *(f"{c.group} {c.heading}".strip() for c in self.columns)]
        lines = [headings, ["---"] * len(self.stubs) + ["---:"] * len(self.columns)]
        for names, cells in self.rows:
            texts = [column.text(cell) for cell, column in zip(cells, self.columns, strict=True)]
            bold = [f"**{text}**" if cell.best else text for cell, text in zip(cells, texts, strict=True)]
            lines.append([*names, *bold])
        body = "\n".join("| " + " | ".join(word.replace("|", "\\|") for word in line) + " |" for line in lines)
        return f"**{self.title}**\n\n{body}\n\n{self.caption}\n"

    def latex(self) -> str:
        r"""A LaTeX `table` with the rules of the package booktabs."""
        groups = [""] * len(self.stubs) + [_latex(column.group) for column in self.columns]
        headings = [*map(_latex, self.stubs), *(_latex(column.heading) for column in self.columns)]
        frame = pd.DataFrame(
            [
                [*map(_latex, names), *(_latex_cell(cell, c) for cell, c in zip(cells, self.columns, strict=True))]
                for names, cells in self.rows
            ],
            columns=pd.MultiIndex.from_arrays([groups, headings]) if self.groups else headings,
        )
        text = frame.style.hide(axis="index").to_latex(
            hrules=True,
            column_format="l" * len(self.stubs) + "c" * len(self.columns),
            multicol_align="c",
            caption=_latex(f"{self.title}. {self.caption}"),
            label=f"tab:{self.name}",
            position="t",
            position_float="centering",
        )
        return f"% \\usepackage{{booktabs}}\n{text}"

    def csv(self) -> str:
        """The numbers without rounding; every mean is followed by its error and the number of its values."""
        return pd.DataFrame(self.records).to_csv(index=False)

    @property
    def records(self) -> list[dict[str, str | float | None]]:
        """One dictionary of plain values per row; a number that is undefined is `None`."""
        columns = zip(*(cells for _, cells in self.rows), strict=True)
        means = [any(cell.count is not None for cell in cells) for cells in columns]
        return [self._record(names, cells, means) for names, cells in self.rows]

    @property
    def texts(self) -> pd.DataFrame:
        """The table as a reader sees it, indexed by the last name of each row."""
        return pd.DataFrame(
            {
                f"{column.group} {column.heading}".strip(): [column.text(cells[place]) for _, cells in self.rows]
                for place, column in enumerate(self.columns)
            },
            index=[names[-1] for names, _ in self.rows],
        )

    def _record(
        self, names: Sequence[str], cells: Sequence[Cell], means: Sequence[bool]
    ) -> dict[str, str | float | None]:
        record: dict[str, str | float | None] = dict(zip(self.stubs, names, strict=True))
        for cell, column, is_mean in zip(cells, self.columns, means, strict=True):
            heading = f"{column.group} {column.heading}".strip().rstrip("↑↓ ")
            record[heading] = _plain(cell.value)
            if is_mean:
                record |= {
                    f"{heading} {column.error_name}": _plain(cell.error),
                    f"{heading} {column.count_name}": cell.count,
                }
        return record

    def write(self, folder: Path) -> list[Path]:
        """Write `NAME.md`, `NAME.tex` and `NAME.csv`."""
        texts = {"md": self.markdown(), "tex": self.latex(), "csv": self.csv()}
        for ending, text in texts.items():
            write_file(folder / f"{self.name}.{ending}", text.encode())
        return [folder / f"{self.name}.{ending}" for ending in texts]


_SYMBOLS = {
    "\0": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "±": r"$\pm$",
    "×": r"$\times$",
    "↑": r"$\uparrow$",
    "↓": r"$\downarrow$",
    "μ": r"$\mu$",
    "φ": r"$\phi$",
    "−": "$-$",
    "–": "--",
}


def _plain(value: float | str) -> str | float | None:
    return value if isinstance(value, str) or isfinite(value) else None


def _latex_cell(cell: Cell, column: Column) -> str:
    text = _latex(column.text(cell))
    return rf"\textbf{{{text}}}" if cell.best else text


def _latex(text: str) -> str:
    """Escape LaTeX's special characters, and write symbols as LaTeX knows them."""
    escaped = text.replace("\\", "\0").translate({ord(character): "\\" + character for character in "&%$#_{}"})
    for symbol, command in _SYMBOLS.items():
        escaped = escaped.replace(symbol, command)
    return escaped
