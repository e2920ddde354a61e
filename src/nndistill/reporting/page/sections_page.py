"""A page of sections, each of sentences, tables and figures: one HTML file that loads nothing from elsewhere."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..figures.drawing import Drawing
from ..figures.palette import ModelStyle
from ..tables.table import Table
from .html_file import write_html


@dataclass(frozen=True)
class Section:
    """A section of a page.

    Args:
        anchor: Where links lead.
        heading: Its heading.
        sentences: What is said first.
        tables: Then the tables,
        drawings: and the figures.
        notes: Small print at the end.
    """

    anchor: str
    heading: str
    sentences: Sequence[str] = ()
    tables: Sequence[Table] = ()
    drawings: Sequence[Drawing] = ()
    notes: Sequence[str] = ()


def write_sections_page(
    path: Path,
    *,
    title: str,
    subtitle: str,
    sections: Sequence[Section],
    styles: Mapping[str, ModelStyle],
    figures: Path,
) -> None:
    """Write the page.

    Args:
        path: The file to write.
        title: Its heading.
        subtitle: The line below the heading.
        sections: What is on it; a section without content is left out.
        styles: Colour of each row name in tables, where it has one.
        figures: Folder to which the drawings have been written.
    """
    content = {
        "title": title,
        "subtitle": subtitle,
        "sections": [part for part in sections if part.sentences or part.tables or part.drawings or part.notes],
        "styles": styles,
    }
    write_html(path, "sections.html.j2", content, figures=figures)
