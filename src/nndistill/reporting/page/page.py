"""The HTML page: one file with everything inside, which loads nothing from elsewhere."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from importlib.metadata import version
from importlib.resources import files
from itertools import groupby
from pathlib import Path
from typing import Any

from jinja2 import Environment, FunctionLoader, StrictUndefined

from ...files import write_file
from ..figures.palette import INK, label_colours, model_styles
from ..figures.qualitative import MARKS
from ..model_results import ReportedModel
from ..tables.table import Table


@dataclass(frozen=True)
class Drawing:
    """A figure on the page.

    Args:
        svg: The drawing, to be set into the page.
        title: For those who cannot see it.
        caption: How to read it.
    """

    svg: str
    title: str
    caption: str

    @classmethod
    def read(cls, file: Path, *, title: str, caption: str) -> Drawing:
        """Read an SVG file that matplotlib wrote."""
        return cls(svg=inline_svg(file.read_text(encoding="utf-8"), file.stem, title), title=title, caption=caption)


@dataclass(frozen=True)
class Statistics:
    """Comparison with a baseline: sentences by measure, what to bear in mind, the numbers, and a figure."""

    baseline: str
    words: Mapping[str, Sequence[str]]
    cautions: Sequence[str]
    table: Table
    drawing: Drawing


@dataclass(frozen=True)
class Page:
    """What is on the page, in the order of the page; what is empty is left out."""

    title: str
    subtitle: str
    models: Sequence[ReportedModel]
    cards: Sequence[Mapping[str, Any]]
    summary: Sequence[str]
    result_tables: Sequence[Table]
    definition: str
    statistics: Statistics | None
    pictures: Sequence[Drawing]
    browser: Sequence[Mapping[str, Any]]
    label_names: Mapping[int, str]
    distributions: Sequence[Drawing]
    score_table: Table
    cost_table: Table | None
    ablation_table: Table | None
    training: Drawing | None
    colophon: str

    @property
    def sections(self) -> list[tuple[str, str]]:
        """Anchor and heading of every section that is on the page."""
        making = self.training or any(model.making for model in self.models)
        sections = [
            ("summary", "Summary", True),
            ("results", "Results", True),
            ("statistics", "Statistics", self.statistics),
            ("pictures", "Pictures", self.pictures or self.browser),
            ("distributions", "Case by case", True),
            ("cost", "Costs", self.cost_table),
            ("ablation", "Ablations", self.ablation_table),
            ("making", "How they were made", making),
        ]
        return [(anchor, heading) for anchor, heading, there in sections if there]


def write_page(page: Page, path: Path) -> None:
    """Write the page as one HTML file."""
    environment = Environment(
        loader=FunctionLoader(_template), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    html = environment.get_template("report.html.j2").render(
        {name: getattr(page, name) for name in (*page.__dataclass_fields__, "sections")},
        browser=_browser(page),
        styles=model_styles(page.models),
        making=_making(page.models),
        version=version("nndistill"),
        style=_template("report.css"),
        script=_template("report.js"),
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


def _template(name: str) -> str:
    return (files(__package__) / "template" / name).read_text(encoding="utf-8")


def _browser(page: Page) -> dict[str, Any] | None:
    if not page.browser:
        return None
    colours = label_colours(page.label_names)
    kinds = list(MARKS.values()) if len(colours) > 1 else list(MARKS.values())[:2]
    return {
        "cases": list(page.browser),
        "colours": [
            {"label": label, "name": page.label_names[label], "colour": colour} for label, colour in colours.items()
        ],
        "mistakes": [{"name": mark.name, "colour": _six_digits(mark.colour)} for mark in kinds],
    }


def _six_digits(colour: str) -> str:
    return {"white": "#ffffff", "black": "#000000"}.get(colour, colour)


@dataclass(frozen=True)
class _Making:
    columns: list[str]
    rows: list[tuple[str, list[tuple[str, int]]]]


def _making(models: Sequence[ReportedModel]) -> _Making:
    """A row a fact and a column a model; what neighbours have in common is written once."""
    told = [model for model in models if model.making]
    fullest_first = sorted(told, key=lambda model: -len(model.making))
    facts = dict.fromkeys(fact for model in fullest_first for fact in model.making)
    rows = [(fact, list(_runs([model.making.get(fact, "–") for model in told]))) for fact in facts]
    return _Making([model.name for model in told], rows)


def _runs(values: Sequence[str]) -> Iterator[tuple[str, int]]:
    for value, same in groupby(values):
        yield value, len(list(same))
