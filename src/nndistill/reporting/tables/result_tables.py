"""The paper's tables: overall, per label, costs and ablations; and those of statistics and of all cases."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import isfinite, nan
from typing import Any

import pandas as pd

from ...evaluation.comparison import Comparison
from ..metrics import METRICS, Metric, case_means, labels_in_order, standard_error
from ..model_results import ReportedModel, students_of
from ..text.result_sentences import p_text
from .table import Cell, Column, Table

_OPTIONS = {
    "bands": "Bands",
    "domain": "Compared as",
    "level": "Levels",
    "wavelet": "Wavelet",
    "mode": "Boundary",
    "train_phi": "φ trained",
}


def overall_table(models: Sequence[ReportedModel]) -> Table:
    """Compare the models over all labels (the paper's Table 1).

    Metrics are averaged over the labels of a case first, then over cases.
    """
    means = {model.name: case_means(model.metrics) for model in models}
    cases = max(len(frame) for frame in means.values())
    cells = _cells(models, [(means, metric) for metric in METRICS])
    rows = [([model.name], cells[model.name]) for model in models]
    return Table(
        name="overall",
        title="Overall",
        caption="Averaged over the labels of a case, then over cases. " + _reading(rows, cases),
        stubs=["Model"],
        columns=[_column(metric, cases) for metric in METRICS],
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
    cells = _cells(models, [(of_label[label], metric) for label in labels for metric in METRICS])
    rows = [([model.name], cells[model.name]) for model in models]
    return Table(
        name="classes",
        title="Every label",
        caption=_reading(rows, cases),
        stubs=["Model"],
        columns=[_column(metric, cases, group=label) for label in labels for metric in METRICS],
        rows=rows,
    )


def cost_table(models: Sequence[ReportedModel]) -> Table | None:
    """Compare what the models cost (the paper's Table 3); `None` if no cost is known."""
    known = [(model.name, model.cost) for model in models if model.cost is not None]
    if not known:
        return None
    quantities: list[tuple[str, str, Callable[[float], str]]] = [
        ("parameters", "Parameters", lambda n: f"{n / 1e6:.3f} M"),
        ("flops_patch", "FLOPs per patch", _flops([cost.flops_patch for _, cost in known])),
        ("flops_case", "FLOPs per case", _flops([cost.flops_case for _, cost in known])),
        ("latency_s", "Seconds per case", lambda s: f"{s:.3g}"),
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
        caption="FLOPs of convolutions, two per multiply-add; a case is the data set's median image under nnU-Net's "
        "sliding window, without mirroring."
        + (f" Seconds and memory were measured: {'; '.join(measured)}." if measured else ""),
        stubs=["Model"],
        columns=[column for _, column in shown],
        rows=[([name], [Cell(_number(getattr(cost, key))) for key, _ in shown]) for name, cost in known],
    )


def ablation_table(models: Sequence[ReportedModel]) -> Table | None:
    """Compare the students of one method that differ in a single option (the paper's Table 4).

    The student that differs in a single option from most of the others is the centre; every option in which some
    student differs from it alone makes a group of rows. `None` if there is no such option.
    """
    students = [model for model in students_of(models) if model.options]
    varied = _varied(students)
    if not varied:
        return None
    means = {model.name: case_means(model.metrics) for model in students}
    cases = max(len(frame) for frame in means.values())
    rows: list[tuple[Sequence[str], Sequence[Cell]]] = []
    for option, group in varied.items():
        cells = _cells(group, [(means, metric) for metric in METRICS])
        rows += [
            ([_OPTIONS.get(option, option), _option_text(model.options[option]), model.name], cells[model.name])
            for model in group
        ]
    return Table(
        name="ablations",
        title="Ablations",
        caption="The rows of a group differ in one option only. " + _reading(rows, cases, best="of a group"),
        stubs=["Option", "Value", "Model"],
        columns=[_column(metric, cases) for metric in METRICS],
        rows=rows,
    )


def comparison_table(comparisons: Mapping[Metric, Comparison], baseline: str) -> Table:
    """The statistics of the comparison with a baseline, one row per metric and model."""

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
        title=f"Compared with {baseline}",
        caption="Paired by case and averaged over the labels for which both have a value, so means may differ from "
        "those of the other tables. 95 % bootstrap interval of the mean difference; two-sided p-values, with Holm's "
        "correction if several models are compared; effect: mean over standard deviation of the differences.",
        stubs=["Measure", "Model"],
        columns=[columns[key] for key in present],
        rows=[
            ([metric.label, str(name)], [Cell(float(row[key])) for key in present])
            for metric, comparison in comparisons.items()
            for name, row in comparison.table.iterrows()
        ],
    )


def score_table(models: Sequence[ReportedModel]) -> Table:
    """The metrics of every case, averaged over its labels."""
    means = {model.name: case_means(model.metrics) for model in models}
    cases = list(dict.fromkeys(case for frame in means.values() for case in frame.index))
    columns = [(name, metric) for name in means for metric in METRICS]
    return Table(
        name="cases",
        title="Every case",
        caption="Averaged over the labels of a case.",
        stubs=["Case"],
        columns=[Column(metric.heading, group=name, write=metric.text) for name, metric in columns],
        rows=[
            ([str(case)], [Cell(float(means[name][metric.column].get(case, nan))) for name, metric in columns])
            for case in cases
        ],
    )


def _reading(rows: Sequence[tuple[Sequence[str], Sequence[Cell]]], cases: int, *, best: str = "student") -> str:
    """Say how to read the cells, and only those parts of them that occur."""
    cells = [cell for _, row in rows for cell in row]
    sentence = f"Mean ± standard error of the mean over {cases} case{'' if cases == 1 else 's'}"
    if any(cell.count != cases for cell in cells):
        sentence += "; (n): over n cases only, since it is undefined in the others"
    return sentence + (f". Bold: the best {best}." if any(cell.best for cell in cells) else ".")


def _column(metric: Metric, cases: int, *, group: str = "") -> Column:
    return Column(metric.heading, group=group, write=metric.text, cases=cases)


def _cells(
    models: Sequence[ReportedModel], columns: Sequence[tuple[dict[str, pd.DataFrame], Metric]]
) -> dict[str, list[Cell]]:
    """Mean and standard error of every model in every column, with the best students of a column marked."""
    rows: dict[str, list[Cell]] = {model.name: [] for model in models}
    for frames, metric in columns:
        values = {model.name: frames[model.name][metric.column].dropna() for model in models}
        best = _best([values[student.name] for student in students_of(models)], metric)
        for model in models:
            defined = values[model.name]
            mean = float(defined.mean())
            rows[model.name].append(
                Cell(
                    value=mean,
                    error=standard_error(defined),
                    count=len(defined),
                    best=model.role == "student" and metric.text(mean) == best,
                )
            )
    return rows


def _best(students: Sequence[pd.Series[float]], metric: Metric) -> str | None:
    """The best mean as it is written, so that equal numbers look equal; `None` if there is nothing to choose from."""
    means = [mean for mean in (float(values.mean()) for values in students) if isfinite(mean)]
    if len(means) < 2:
        return None
    return metric.text(max(means) if metric.higher_is_better else min(means))


def _varied(students: Sequence[ReportedModel]) -> dict[str, list[ReportedModel]]:
    """The students that differ from the central one in a single option, by option, each time with the central one."""
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
    """Write FLOPs in one unit for the whole column."""
    size, unit = (1e12, "T") if max(values) >= 1e13 else (1e9, "G")
    return lambda flops: f"{flops / size:.1f} {unit}"


def _option_text(value: Any) -> str:
    return "+".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)


def _number(value: float | None) -> float:
    return nan if value is None else float(value)
