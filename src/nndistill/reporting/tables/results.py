"""The paper's tables: overall, a class, costs and ablations."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import isfinite, nan
from typing import Any

import pandas as pd

from ...evaluation.comparison import Comparison
from ..measures import MEASURES, Measure, case_means, labels_in_order, standard_error
from ..model_results import ReportedModel, students_of
from ..text.results import p_text
from .table import Cell, Column, Table

_OPTIONS = {"bands": "Bands", "domain": "Compared as", "level": "Levels", "wavelet": "Wavelet", "mode": "Boundary"}


def overall_table(models: Sequence[ReportedModel]) -> Table:
    """Compare the models over all labels (the paper's Table 1).

    A case's measures are averaged over its labels first, then over cases.
    """
    means = {model.name: case_means(model.metrics) for model in models}
    cases = max(len(frame) for frame in means.values())
    cells = _cells(models, [(means, measure) for measure in MEASURES])
    rows = [([model.name], cells[model.name]) for model in models]
    return Table(
        name="overall",
        title="Overall",
        caption="Averaged over the labels of a case, then over cases. " + _reading(rows, cases),
        stubs=["Model"],
        columns=[_column(measure, cases) for measure in MEASURES],
        rows=rows,
    )


def class_table(models: Sequence[ReportedModel]) -> Table:
    """Compare the models on every label (the paper's Table 2)."""
    labels = labels_in_order([model.metrics for model in models])
    cases = max(int(model.metrics["case"].nunique()) for model in models)
    of_label = {
        label: {model.name: model.metrics[model.metrics["label"].astype(str) == label] for model in models}
        for label in labels
    }
    cells = _cells(models, [(of_label[label], measure) for label in labels for measure in MEASURES])
    rows = [([model.name], cells[model.name]) for model in models]
    return Table(
        name="classes",
        title="Every label",
        caption=_reading(rows, cases),
        stubs=["Model"],
        columns=[_column(measure, cases, group=label) for label in labels for measure in MEASURES],
        rows=rows,
    )


def cost_table(models: Sequence[ReportedModel]) -> Table | None:
    """Compare what the models cost (the paper's Table 3); nothing if no cost is known."""
    known = [(model.name, model.cost) for model in models if model.cost is not None]
    if not known:
        return None
    quantities: list[tuple[str, str, Callable[[float], str]]] = [
        ("parameters", "Parameters", lambda n: f"{n / 1e6:.3f} M"),
        ("flops_patch", "FLOPs a patch", _flops([cost.flops_patch for _, cost in known])),
        ("flops_case", "FLOPs a case", _flops([cost.flops_case for _, cost in known])),
        ("latency_s", "Seconds a case", lambda s: f"{s:.3g}"),
        ("memory_bytes", "Memory", lambda n: f"{n / 2**20:.0f} MiB"),
    ]
    shown = [
        (key, Column(heading, write=write))
        for key, heading, write in quantities
        if any(getattr(cost, key) is not None for _, cost in known)
    ]
    measured = dict.fromkeys(cost.measured_on for _, cost in known if cost.measured_on)
    return Table(
        name="costs",
        title="Costs",
        caption="FLOPs of convolutions, two a multiply-add; a case is the data set's median image under nnU-Net's "
        "sliding window, without mirroring."
        + (f" Seconds and memory were measured: {'; '.join(measured)}." if measured else ""),
        stubs=["Model"],
        columns=[column for _, column in shown],
        rows=[([name], [Cell(_number(getattr(cost, key))) for key, _ in shown]) for name, cost in known],
    )


def ablation_table(models: Sequence[ReportedModel]) -> Table | None:
    """Compare the students of one method that differ in a single option (the paper's Table 4).

    Around the student whose options are most shared by the others, every option that some student varies alone makes
    a group of rows. Nothing if no option is varied.
    """
    students = [model for model in students_of(models) if model.options]
    varied = _varied(students)
    if not varied:
        return None
    means = {model.name: case_means(model.metrics) for model in students}
    cases = max(len(frame) for frame in means.values())
    rows: list[tuple[Sequence[str], Sequence[Cell]]] = []
    for option, group in varied.items():
        cells = _cells(group, [(means, measure) for measure in MEASURES])
        rows += [
            ([_OPTIONS.get(option, option), _words(model.options[option]), model.name], cells[model.name])
            for model in group
        ]
    return Table(
        name="ablations",
        title="Ablations",
        caption="Rows of a group differ in one option only. " + _reading(rows, cases, best="of a group"),
        stubs=["Option", "Value", "Model"],
        columns=[_column(measure, cases) for measure in MEASURES],
        rows=rows,
    )


def comparison_table(comparisons: Mapping[Measure, Comparison], baseline: str) -> Table:
    """Statistics of the models against a baseline, a row a measure and model."""

    def difference(value: float) -> str:
        return f"{value:+.3g}".replace("-", "−")

    columns = {
        "base": Column(baseline, write="{:.3g}".format),
        "other": Column("Model", write="{:.3g}".format),
        "difference": Column("Difference", write=difference),
        "ci_low": Column("95 % from", write=difference),
        "ci_high": Column("to", write=difference),
        "t_p_holm": Column("t-test p", write=p_text),
        "wilcoxon_p_holm": Column("Wilcoxon p", write=p_text),
        "cohen_dz": Column("Effect d", write=lambda value: f"{value:.2f}".replace("-", "−")),
        "gap_recovered": Column("Gap recovered", write=lambda value: f"{100 * value:.0f} %".replace("-", "−")),
    }
    present = [key for key in columns if any(c.table[key].notna().any() for c in comparisons.values())]
    return Table(
        name="comparison",
        title=f"Against {baseline}",
        caption="Paired by case and averaged over the labels that both have a value of, so means may differ from those "
        "of the other tables. 95 % bootstrap interval of the mean difference; two-sided p-values, corrected after Holm "
        "where several models are compared; effect: mean over standard deviation of the differences.",
        stubs=["Measure", "Model"],
        columns=[columns[key] for key in present],
        rows=[
            ([measure.label, str(name)], [Cell(float(row[key])) for key in present])
            for measure, comparison in comparisons.items()
            for name, row in comparison.table.iterrows()
        ],
    )


def score_table(models: Sequence[ReportedModel]) -> Table:
    """Every case's measures, averaged over its labels."""
    means = {model.name: case_means(model.metrics) for model in models}
    cases = list(dict.fromkeys(case for frame in means.values() for case in frame.index))
    columns = [(name, measure) for name in means for measure in MEASURES]
    return Table(
        name="cases",
        title="Every case",
        caption="Averaged over the labels of a case.",
        stubs=["Case"],
        columns=[Column(measure.heading, group=name, write=measure.text) for name, measure in columns],
        rows=[
            ([str(case)], [Cell(float(means[name][measure.column].get(case, nan))) for name, measure in columns])
            for case in cases
        ],
    )


def _reading(rows: Sequence[tuple[Sequence[str], Sequence[Cell]]], cases: int, *, best: str = "student") -> str:
    """Say how to read the cells, and no more than there is to be read."""
    cells = [cell for _, row in rows for cell in row]
    sentence = f"Mean ± standard error of the mean over {cases} case{'' if cases == 1 else 's'}"
    if any(cell.count != cases for cell in cells):
        sentence += "; (n): over n cases only, being undefined in the others"
    return sentence + (f". Bold: the best {best}." if any(cell.best for cell in cells) else ".")


def _column(measure: Measure, cases: int, *, group: str = "") -> Column:
    return Column(measure.heading, group=group, write=measure.text, cases=cases)


def _cells(
    models: Sequence[ReportedModel], columns: Sequence[tuple[dict[str, pd.DataFrame], Measure]]
) -> dict[str, list[Cell]]:
    """Mean and standard error of every model in every column; the best students of a column are marked."""
    rows: dict[str, list[Cell]] = {model.name: [] for model in models}
    for frames, measure in columns:
        values = {model.name: frames[model.name][measure.column].dropna() for model in models}
        best = _best([values[student.name] for student in students_of(models)], measure)
        for model in models:
            defined = values[model.name]
            mean = float(defined.mean())
            rows[model.name].append(
                Cell(
                    value=mean,
                    error=standard_error(defined),
                    count=len(defined),
                    best=model.role == "student" and measure.text(mean) == best,
                )
            )
    return rows


def _best(students: Sequence[pd.Series[float]], measure: Measure) -> str | None:
    """The best mean as it is written, so that equal numbers look equal; with nothing to choose from, none."""
    means = [mean for mean in (float(values.mean()) for values in students) if isfinite(mean)]
    if len(means) < 2:
        return None
    return measure.text(max(means) if measure.higher_is_better else min(means))


def _varied(students: Sequence[ReportedModel]) -> dict[str, list[ReportedModel]]:
    """For each option the students that differ in it alone, the one they are all compared with among them."""
    neighbours = {
        student.name: [(other, _only_difference(student, other)) for other in students] for student in students
    }
    if not students:
        return {}
    centre = max(students, key=lambda student: sum(option is not None for _, option in neighbours[student.name]))
    varied: dict[str, list[ReportedModel]] = {}
    for option in centre.options:
        group = [other for other, differing in neighbours[centre.name] if other is centre or differing == option]
        if len(group) > 1:
            varied[option] = group
    return varied


def _only_difference(one: ReportedModel, other: ReportedModel) -> str | None:
    """The option in which two students of one method differ, if it is a single one."""
    differing = [key for key in one.options if one.options[key] != other.options.get(key)]
    same_method = one.method == other.method and one.options.keys() == other.options.keys()
    return differing[0] if same_method and len(differing) == 1 else None


def _flops(values: Sequence[int]) -> Callable[[float], str]:
    """One unit for a column."""
    size, unit = (1e12, "T") if max(values) >= 1e13 else (1e9, "G")
    return lambda flops: f"{flops / size:.1f} {unit}"


def _words(value: Any) -> str:
    return "+".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)


def _number(value: float | None) -> float:
    return nan if value is None else float(value)
