"""A whole report: tables, figures and the HTML page, from models and their metrics."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from typing import Any

import pandas as pd

from ..evaluation.comparison import Comparison
from .figures.case_comparison import draw_case
from .figures.differences import draw_differences
from .figures.distributions import draw_distributions
from .figures.training_curves import draw_training_curves
from .metrics import METRICS
from .model_results import ReportedCases, ReportedModel, check_models
from .outdated import delete_outdated
from .page.browser import browsable_cases
from .page.page import Page, Statistics, write_page
from .shown_cases import choose_case, rank_cases, reason_for_first
from .statistics import choose_baseline, compare_with_baseline
from .tables.result_tables import (
    ablation_table,
    case_table,
    class_table,
    comparison_table,
    cost_table,
    overall_table,
    score_table,
)
from .tables.table import Table
from .text.result_sentences import cautions, comparison_sentences


@dataclass(frozen=True)
class Report:
    """What was written, and the numbers in it.

    Args:
        page: The HTML page.
        tables: Every table, by name.
        files: All other files.
        comparisons: Comparisons with the baseline, by column of `metrics.csv`.
        baseline: Name of the model that the others are compared with.
        case: The case in the comparison figure.
    """

    page: Path
    tables: Mapping[str, Table]
    files: Sequence[Path]
    comparisons: Mapping[str, Comparison]
    baseline: str | None
    case: str | None

    @property
    def numbers(self) -> dict[str, Any]:
        """Everything as plain values, for JSON."""
        return {
            "page": str(self.page),
            "files": [str(file) for file in self.files],
            "baseline": self.baseline,
            "case": self.case,
            "tables": {name: table.records for name, table in self.tables.items()},
            "comparisons": {
                name: {"table": _plain(comparison.table), "notes": comparison.notes}
                for name, comparison in self.comparisons.items()
            },
        }


def write_report(
    models: Sequence[ReportedModel],
    cases: ReportedCases,
    out: Path,
    *,
    title: str = "Distillation report",
    baseline: str | None = None,
    case: str | None = None,
    slice_index: int | None = None,
    channel: str | None = None,
) -> Report:
    """Write `report.html`, and `tables/` and `figures/` for papers.

    Args:
        models: The models to report on, in the order of tables and figures.
        cases: The cases that they predicted; without images there are no pictures.
        out: Folder to write to.
        title: Heading of the page.
        baseline: Name of the model that the others are compared with; default: the student without distillation,
            otherwise the teacher.
        case: Case of the comparison figure; default: the one on which the students differ most.
        slice_index: Axial slice of that figure; default: the one on which the models differ most.
        channel: Channel of the image in that figure; default: the first.

    Raises:
        UserError: A name is unknown, or a file is missing or damaged.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> def scores(*dice):
        ...     cases = [f"case_{number}" for number in range(len(dice))]
        ...     return pd.DataFrame({"case": cases, "label": "tumour", "dice": dice, "hd95_mm": 2.0, "nsd": dice})
        >>> models = [
        ...     ReportedModel("Large", scores(0.9, 0.8), role="teacher"),
        ...     ReportedModel("Small", scores(0.8, 0.7)),
        ... ]
        >>> with TemporaryDirectory() as folder:
        ...     report = write_report(models, ReportedCases({}, {1: "tumour"}), Path(folder))
        >>> report.page.name, report.baseline
        ('report.html', 'Large')
        >>> report.tables["overall"].records[1]["Dice"]
        0.75
    """
    check_models(models)
    base = choose_baseline(models, baseline)
    comparisons = compare_with_baseline(models, base)
    ranked = rank_cases(models, cases)
    shown = choose_case(ranked, case=case)

    overall, by_case = overall_table(models), case_table(models)
    classes, scores = class_table(models), score_table(models)
    costs, ablations = cost_table(models), ablation_table(models)
    distributions = [draw_distributions(models, metric) for metric in METRICS]
    training = draw_training_curves(models)
    statistics, pictures, browser = None, [], []
    if base is not None and comparisons:
        statistics = Statistics(
            baseline=base.name,
            sentences={metric.name: comparison_sentences(found, metric) for metric, found in comparisons.items()},
            cautions=cautions(comparisons),
            table=comparison_table(comparisons, base.name),
            drawing=draw_differences(models, comparisons, baseline=base.name),
        )
    if shown is not None:
        why = reason_for_first(models) if case is None else ""
        pictures = [draw_case(models, cases, shown, slice_index=slice_index, channel=channel, chosen_because=why)]
        order = [shown, *(other for other in ranked if other != shown)]
        browser = browsable_cases(order, models, cases, first_channel=channel)

    page = Page(
        title=title,
        models=models,
        result_tables=[overall, *([by_case] if by_case else []), classes],
        definition=cases.measured,
        statistics=statistics,
        pictures=pictures,
        browser=browser,
        label_names={value: name for value, name in cases.label_names.items() if value != 0},
        distributions=distributions,
        score_table=scores,
        cost_table=costs,
        ablation_table=ablations,
        training=training,
    )
    written = [file for table in page.tables for file in table.write(out / "tables")]
    written += [file for drawing in page.drawings for file in drawing.write(out / "figures")]
    write_page(page, out / "report.html", figures=out / "figures")
    delete_outdated(out, ("mean_of_cases", "ablations", "costs", "comparison", "differences", "training"), written)
    return Report(
        page=out / "report.html",
        tables={table.name: table for table in page.tables},
        files=written,
        comparisons={metric.column: comparison for metric, comparison in comparisons.items()},
        baseline=None if base is None else base.name,
        case=shown,
    )


def _plain(frame: pd.DataFrame) -> dict[str, Any]:
    """Rows as plain values, with `None` for NaN, which JSON does not have."""
    return {
        str(name): {str(key): float(value) if isfinite(value) else None for key, value in row.items()}
        for name, row in frame.iterrows()
    }
