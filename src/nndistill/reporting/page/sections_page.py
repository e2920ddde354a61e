"""A page of sections, each of sentences, tables and figures: one HTML file that loads nothing from elsewhere."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from importlib.metadata import version
from pathlib import Path

from jinja2 import Environment, FunctionLoader, StrictUndefined

from ...files import write_file
from ..figures.drawing import Drawing
from ..figures.palette import ModelStyle
from ..tables.table import Table
from .page import inline_svg, page_file


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

    def svg(drawing: Drawing) -> str:
        text = (figures / f"{drawing.name}.svg").read_text(encoding="utf-8")
        return inline_svg(text, drawing.name, drawing.title)

    environment = Environment(
        loader=FunctionLoader(page_file), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    html = environment.get_template("sections.html.j2").render(
        title=title,
        subtitle=subtitle,
        sections=[part for part in sections if part.sentences or part.tables or part.drawings or part.notes],
        styles=styles,
        svg=svg,
        version=version("nndistill"),
        date=f"{date.today():%Y-%m-%d}",
        style=page_file("report.css"),
        script=page_file("report.js"),
    )
    write_file(path, html.encode())
