"""A template filled into one HTML file that holds its style, script and figures."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import date
from html import escape
from importlib.metadata import version
from importlib.resources import files as resources
from pathlib import Path

from jinja2 import Environment, FunctionLoader, StrictUndefined

from ...files import write_file
from ..figures.drawing import Drawing
from ..figures.palette import INK


def write_html(path: Path, template: str, content: Mapping[str, object], *, figures: Path) -> None:
    """Fill a template and write the page.

    Args:
        path: The file to write.
        template: Its name.
        content: What the template names, besides style, script, version, date and `svg(drawing)`.
        figures: Folder to which the drawings have been written.
    """

    def svg(drawing: Drawing) -> str:
        text = (figures / f"{drawing.name}.svg").read_text(encoding="utf-8")
        return inline_svg(text, drawing.name, drawing.title)

    environment = Environment(
        loader=FunctionLoader(_page_file), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    html = environment.get_template(template).render(
        content,
        svg=svg,
        version=version("nndistill"),
        date=f"{date.today():%Y-%m-%d}",
        style=_page_file("report.css"),
        script=_page_file("report.js"),
    )
    write_file(path, html.encode())


def inline_svg(text: str, prefix: str, title: str) -> str:
    """Make matplotlib's SVG part of a page: its own ids, the page's text colour, and no size of its own."""
    svg = text[text.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>|<style[^>]*>.*?</style>", "", svg, flags=re.DOTALL)
    seen: set[str] = set()

    def own_id(match: re.Match[str]) -> str:
        """The id with the prefix; matplotlib gives equal pictures one id, of which the first will do."""
        first = match[1] not in seen
        seen.add(match[1])
        return f' id="{prefix}-{match[1]}"' if first else ""

    svg = re.sub(r'\sid="([^"]+)"', own_id, svg)
    svg = re.sub(r'(href="|url\()#', rf"\1#{prefix}-", svg)
    svg = svg.replace(INK, "currentColor")
    tag, body = svg[: svg.index(">")], svg[svg.index(">") :]
    width = re.search(r'\swidth="([^"]*)"', tag)
    natural = f' style="--natural-width: {width[1]}"' if width else ""
    tag = re.sub(r'\s(width|height)="[^"]*"', "", tag)
    return f'{tag} role="img" aria-label="{escape(title)}" stroke-linejoin="round"{natural}{body}'


def _page_file(name: str) -> str:
    """A template, style or script of pages."""
    return (resources(__package__) / "template" / name).read_text(encoding="utf-8")
