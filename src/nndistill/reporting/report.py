"""A whole report: tables, figures and the HTML page, from models and their metrics."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from importlib.metadata import version
from math import isfinite
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ..errors import UnknownName, UserError
from ..evaluation.comparison import Comparison, compare_metrics
from .figures.chart import save_chart
from .figures.differences import draw_differences
from .figures.distributions import FEWEST_FOR_A_BOX, draw_distributions
from .figures.qualitative import draw_comparison
from .figures.training_curves import draw_training_curves
from .measures import DICE, MEASURES, Measure, case_means, labels_in_order
from .model_results import ReportedCases, ReportedModel, check_models, students_of, teacher_of
from .page.browser import browsable_case
from .page.page import Drawing, Page, Statistics, write_page
from .tables.results import ablation_table, class_table, comparison_table, cost_table, overall_table, score_table
from .tables.table import Table
from .text.results import cautions, comparison_words, summary_words
from .volume import read_image, read_labels

BROWSED = 3
"""Cases in the page's slice browser, at most."""
BROWSER_BYTES = 6_000_000
"""No further case is added once the browser's data are as large as this."""

_BOXES = ", boxes reach from the first to the third quartile, and whiskers to the farthest case within 1.5 box lengths"


@dataclass(frozen=True)
class Report:
    """What was written, and the numbers in it.

    Args:
        page: The HTML page.
        tables: Every table, by name.
        files: All files beside the page.
        comparisons: Statistics against the baseline, by column of `metrics.csv`.
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
        models: What to report on, in the order of tables and figures.
        cases: What they predicted; without images there are no pictures.
        out: Folder.
        title: Heading of the page.
        baseline: Model that the others are compared with; default: the student without distillation, or else the
            teacher.
        case: Case of the comparison figure; default: the one on which the students differ most.
        slice_index: Its axial slice; default: the one in which they differ most.
        channel: Channel of the image in the comparison figure; default: the first.

    Raises:
        UserError: A name is unknown, or a file is missing or damaged.
    """
    check_models(models)
    base = _baseline(models, baseline)
    comparisons = _comparisons(models, base)
    overall, classes, scores = overall_table(models), class_table(models), score_table(models)
    costs, ablations = cost_table(models), ablation_table(models)
    compared = comparison_table(comparisons, base.name) if base is not None and comparisons else None
    tables = [table for table in (overall, classes, compared, costs, ablations, scores) if table is not None]
    written = [file for table in tables for file in table.write(out / "tables")]

    figures = out / "figures"
    ranked = _differing_cases(models, cases)
    shown = _chosen(case, ranked, cases)
    pictures, browser = [], []
    if shown is not None:
        written += _write_pictures(models, cases, shown, figures, slice_index=slice_index, channel=channel)
        pictures = [_comparison_drawing(figures, shown, chosen=case is None)]
        browser = _browsable([shown, *(other for other in ranked if other != shown)], models, cases, channel)
    for measure in MEASURES:
        written += save_chart(draw_distributions(models, measure), figures, measure.column)
    if base is not None and comparisons:
        written += save_chart(draw_differences(models, comparisons, baseline=base.name), figures, "differences")
    training = draw_training_curves(models)
    if training is not None:
        written += save_chart(training, figures, "training")

    page = Page(
        title=title,
        subtitle=_subtitle(models, cases),
        models=models,
        cards=[_card(model) for model in models],
        summary=summary_words(models),
        result_tables=[overall, classes],
        definition=cases.measured,
        statistics=_statistics(comparisons, compared, base, figures),
        pictures=pictures,
        browser=browser,
        label_names={value: name for value, name in cases.label_names.items() if value != 0},
        distributions=[_distribution_drawing(figures, measure, models) for measure in MEASURES],
        score_table=scores,
        cost_table=costs,
        ablation_table=ablations,
        training=None if training is None else _training_drawing(figures),
        colophon=f"Made by nnDistill {version('nndistill')} on {date.today():%Y-%m-%d}. Tables and figures for papers "
        "are in the folders beside this page.",
    )
    write_page(page, out / "report.html")
    return Report(
        page=out / "report.html",
        tables={table.name: table for table in tables},
        files=written,
        comparisons={measure.column: comparison for measure, comparison in comparisons.items()},
        baseline=None if base is None else base.name,
        case=shown,
    )


def _baseline(models: Sequence[ReportedModel], name: str | None) -> ReportedModel | None:
    """The model to compare the others with; none where there is a single model."""
    if name is not None:
        found = {model.name: model for model in models}
        if name not in found:
            raise UnknownName("model", name, found)
        return found[name]
    if len(models) < 2:
        return None
    undistilled = next((model for model in models if model.method == "none"), None)
    return undistilled or teacher_of(models) or models[0]


def _comparisons(models: Sequence[ReportedModel], base: ReportedModel | None) -> dict[Measure, Comparison]:
    others = [model for model in students_of(models) if model is not base]
    if base is None or not others:
        return {}
    teacher = teacher_of(models)
    return {
        measure: compare_metrics(
            base.metrics,
            {model.name: model.metrics for model in others},
            metric=measure.column,
            teacher=None if teacher is None or teacher is base else teacher.metrics,
        )
        for measure in MEASURES
    }


def _differing_cases(models: Sequence[ReportedModel], cases: ReportedCases) -> list[str]:
    """Cases that can be shown, those first on which the students differ most in Dice; for one model its worst."""
    compared = students_of(models) if len(students_of(models)) > 1 else list(models)
    dice = pd.DataFrame({model.name: case_means(model.metrics)[DICE.column] for model in compared})
    spread = dice.max(axis=1) - dice.min(axis=1) if len(compared) > 1 else 1 - dice.iloc[:, 0]
    order = [str(case) for case in spread.fillna(0).sort_values(ascending=False, kind="stable").index]
    return [
        case
        for case in order
        if case in cases.images and case in cases.references and all(case in model.predictions for model in models)
    ]


def _chosen(case: str | None, ranked: Sequence[str], cases: ReportedCases) -> str | None:
    if case is None:
        return ranked[0] if ranked else None
    if case not in ranked:
        raise (
            UnknownName("case with an image and predictions", case, ranked)
            if ranked
            else UserError(
                f"{case} cannot be shown: no case has an image, a reference and all predictions; give --images."
            )
        )
    return case


def _write_pictures(
    models: Sequence[ReportedModel],
    cases: ReportedCases,
    case: str,
    folder: Path,
    *,
    slice_index: int | None,
    channel: str | None,
) -> list[Path]:
    files = cases.images[case]
    if channel is not None and channel not in files:
        raise UnknownName("channel", channel, files)
    chosen = channel or next(iter(files))
    image = read_image(files[chosen])
    figure = draw_comparison(
        image=image.voxels,
        reference=read_labels(cases.references[case]),
        predictions={model.name: read_labels(model.predictions[case]) for model in models},
        label_names=cases.label_names,
        spacing=image.spacing,
        title=f"{case}, {chosen}" if len(files) > 1 else case,
        scores={model.name: _dice_of(model, case) for model in models},
        slice_index=slice_index,
    )
    return save_chart(figure, folder, "comparison", dpi=300)


def _browsable(
    order: Sequence[str], models: Sequence[ReportedModel], cases: ReportedCases, channel: str | None
) -> list[dict[str, Any]]:
    """The first cases for the page's slice browser, the shown channel first."""
    browsable: list[dict[str, Any]] = []
    size = 0
    for case in order[:BROWSED]:
        files = sorted(cases.images[case].items(), key=lambda named: named[0] != channel)
        images = {name: read_image(file) for name, file in files}
        data = browsable_case(
            case,
            channels={name: image.voxels for name, image in images.items()},
            reference=read_labels(cases.references[case]),
            predictions={model.name: read_labels(model.predictions[case]) for model in models},
            spacing=next(iter(images.values())).spacing,
            scores={model.name: f"Dice {DICE.text(_dice_of(model, case))}" for model in models},
        )
        browsable.append(data)
        size += sum(len(channel["sprite"]) for channel in data["channels"])
        if size > BROWSER_BYTES:
            break
    return browsable


def _dice_of(model: ReportedModel, case: str) -> float:
    return float(case_means(model.metrics)[DICE.column].get(case, np.nan))


def _card(model: ReportedModel) -> dict[str, Any]:
    means = case_means(model.metrics).mean()
    more = [f"{m.name} {m.text(float(means[m.column]))} {m.unit}".strip() for m in MEASURES if m is not DICE]
    if model.cost is not None:
        more.append(f"{model.cost.parameters / 1e6:.2f} M parameters")
    return {"name": model.name, "score": DICE.text(float(means[DICE.column])), "measure": DICE.name, "more": more}


def _subtitle(models: Sequence[ReportedModel], cases: ReportedCases) -> str:
    count = len({case for model in models for case in model.metrics["case"]})
    labels = labels_in_order([model.metrics for model in models])
    data = next((model.making["Data set"] for model in models if "Data set" in model.making), "")
    parts = [data, _counted(len(models), "model"), _counted(count, "case"), _counted(len(labels), "label")]
    return " · ".join(part for part in parts if part) + f": {', '.join(labels)}"


def _counted(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def _comparison_drawing(figures: Path, case: str, *, chosen: bool) -> Drawing:
    why = "the case and slice on which the models differ most" if chosen else "the slice on which they differ most"
    return Drawing.read(
        figures / "comparison.svg",
        title=f"Image, reference and predictions of {case}",
        caption=f"{case}, {why}. Below, the dashed box enlarged, with every wrong voxel marked. Dice is the mean over "
        "the labels of the whole case.",
    )


def _distribution_drawing(figures: Path, measure: Measure, models: Sequence[ReportedModel]) -> Drawing:
    most = max(int(model.metrics["case"].nunique()) for model in models)
    return Drawing.read(
        figures / f"{measure.column}.svg",
        title=f"{measure.name} of every case",
        caption=f"{measure.label} of every case; {'higher' if measure.higher_is_better else 'lower'} is better. "
        f"The line is the median{_BOXES if most >= FEWEST_FOR_A_BOX else ''}.",
    )


def _statistics(
    comparisons: Mapping[Measure, Comparison], table: Table | None, base: ReportedModel | None, figures: Path
) -> Statistics | None:
    if table is None or base is None:
        return None
    return Statistics(
        baseline=base.name,
        words={measure.name: comparison_words(comparison, measure) for measure, comparison in comparisons.items()},
        cautions=cautions(comparisons),
        table=table,
        drawing=Drawing.read(
            figures / "differences.svg",
            title=f"Differences from {base.name}, case by case",
            caption=f"Each point is a case: its score minus that of {base.name} on the same case. The bar is the 95 % "
            "bootstrap interval of the mean, which the tick marks.",
        ),
    )


def _training_drawing(figures: Path) -> Drawing:
    return Drawing.read(
        figures / "training.svg",
        title="Training curves",
        caption="Pseudo Dice is nnU-Net's: of validation patches, while training.",
    )


def _plain(frame: pd.DataFrame) -> dict[str, Any]:
    """Rows as plain values, without NaN, which JSON does not know."""
    return {
        str(name): {str(key): float(value) if isfinite(value) else None for key, value in row.items()}
        for name, row in frame.iterrows()
    }
