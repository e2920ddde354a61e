"""The HTML page: one file with everything inside, which loads nothing from elsewhere."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from itertools import groupby
from pathlib import Path
from typing import Any

from ...evaluation.aggregates import mean_of_labels
from ..figures.drawing import Drawing
from ..figures.palette import label_colours, model_styles
from ..figures.qualitative import MARKS
from ..metrics import DICE, METRICS, labels_in_order
from ..model_results import ReportedModel
from ..tables.table import Table
from ..text.numbers import counted
from ..text.result_sentences import summary_sentences
from .html_file import write_html


@dataclass(frozen=True)
class Statistics:
    """Comparison with a baseline: sentences by metric, cautions about all of them, the numbers, and a figure."""

    baseline: str
    sentences: Mapping[str, Sequence[str]]
    cautions: Sequence[str]
    table: Table
    drawing: Drawing


@dataclass(frozen=True)
class Page:
    """What is on the page, in this order; parts that are empty are left out."""

    title: str
    models: Sequence[ReportedModel]
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

    @property
    def tables(self) -> list[Table]:
        """All tables of the page."""
        compared = self.statistics.table if self.statistics else None
        tables = [*self.result_tables, compared, self.cost_table, self.ablation_table, self.score_table]
        return [table for table in tables if table is not None]

    @property
    def drawings(self) -> list[Drawing]:
        """All figures of the page."""
        differences = self.statistics.drawing if self.statistics else None
        drawings = [*self.pictures, *self.distributions, differences, self.training]
        return [drawing for drawing in drawings if drawing is not None]

    @property
    def sections(self) -> list[tuple[str, str]]:
        """Anchor and heading of every section that is on the page."""
        provenance = self.training or any(model.provenance for model in self.models)
        sections = [
            ("summary", "Summary", True),
            ("results", "Results", True),
            ("statistics", "Statistics", self.statistics),
            ("pictures", "Pictures", self.pictures or self.browser),
            ("distributions", "Case by case", True),
            ("cost", "Costs", self.cost_table),
            ("ablation", "Ablations", self.ablation_table),
            ("provenance", "How they were made", provenance),
        ]
        return [(anchor, heading) for anchor, heading, there in sections if there]


def write_page(page: Page, path: Path, *, figures: Path) -> None:
    """Write the page as one HTML file.

    Args:
        page: What is on it.
        path: The file to write.
        figures: Folder to which the page's drawings have been written.
    """
    of_page = {name: getattr(page, name) for name in (*(field.name for field in fields(page)), "sections")}
    derived = {
        "subtitle": _subtitle(page.models),
        "cards": [_card(model) for model in page.models],
        "summary": summary_sentences(page.models),
        "browser": _browser(page),
        "styles": model_styles(page.models),
        "provenance": _provenance(page.models),
    }
    write_html(path, "report.html.j2", of_page | derived, figures=figures)


def _subtitle(models: Sequence[ReportedModel]) -> str:
    """Data set, and how many models, cases and labels there are."""
    cases = len({case for model in models for case in model.metrics["case"]})
    labels = labels_in_order([model.metrics for model in models])
    data = next((model.provenance["Data set"] for model in models if "Data set" in model.provenance), "")
    parts = [data, counted(len(models), "model"), counted(cases, "case"), counted(len(labels), "label")]
    return " · ".join(part for part in parts if part) + f": {', '.join(labels)}"


def _card(model: ReportedModel) -> dict[str, Any]:
    means = {metric: metric.text(mean_of_labels(model.metrics, metric.column).value) for metric in METRICS}
    known = {metric: text for metric, text in means.items() if text != "–" and metric is not DICE}
    more = [f"{metric.name} {text} {metric.unit}".strip() for metric, text in known.items()]
    if model.cost is not None:
        more.append(f"{model.cost.parameters / 1e6:.2f} M parameters")
    return {"name": model.name, "score": means[DICE], "metric": DICE.name, "more": more}


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
        "errors": [{"name": mark.name, "colour": _six_digits(mark.colour)} for mark in kinds],
    }


def _six_digits(colour: str) -> str:
    return {"white": "#ffffff", "black": "#000000"}.get(colour, colour)


@dataclass(frozen=True)
class _Provenance:
    columns: list[str]
    rows: list[tuple[str, list[tuple[str, int]]]]


def _provenance(models: Sequence[ReportedModel]) -> _Provenance:
    """One row per fact and one column per model; a value that neighbours share is written once, with its width."""
    known = [model for model in models if model.provenance]
    fullest_first = sorted(known, key=lambda model: -len(model.provenance))
    facts = dict.fromkeys(fact for model in fullest_first for fact in model.provenance)
    rows = [(fact, list(_runs([model.provenance.get(fact, "–") for model in known]))) for fact in facts]
    return _Provenance([model.name for model in known], rows)


def _runs(values: Sequence[str]) -> Iterator[tuple[str, int]]:
    for value, same in groupby(values):
        yield value, len(list(same))
