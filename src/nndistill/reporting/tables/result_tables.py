"""The paper's tables: overall, per label, costs and ablations; and those of statistics and of all cases."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import isfinite, nan
from typing import Any

import numpy as np
import pandas as pd

from ...evaluation.aggregates import MEAN_OF_CASES, MEAN_OF_LABELS, Mean, mean_of_cases, mean_of_labels
from ...evaluation.comparison import Comparison
from ..metrics import METRICS, Metric, case_means, labels_in_order
from ..model_results import ReportedModel, students_of
from ..text.numbers import p_text, signed
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
    """Compare the models over all labels by the mean of labels (the paper's Table 1)."""
    agree = case_table(models) is None
    title = "Overall" if agree else f"Overall: {MEAN_OF_LABELS}"
    caption = "Mean of labels: averaged over the cases, then over the labels, as the paper's overall is."
    if agree and len(labels_in_order([model.metrics for model in models])) > 1:
        caption += " The mean of cases is the same, since every case has all labels."
    return _aggregate_table("overall", title, caption, models, mean_of_labels)


def case_table(models: Sequence[ReportedModel]) -> Table | None:
    """Compare the models by the mean of cases; `None` if it is the mean of labels, since no value is undefined."""
    of_labels, of_cases = (
        [mean(model.metrics, metric.column).value for model in models for metric in METRICS]
        for mean in (mean_of_labels, mean_of_cases)
    )
    if np.allclose(of_labels, of_cases, rtol=1e-9, equal_nan=True):
        return None
    caption = "Mean of cases: averaged over the labels of a case, then over the cases, as for the statistics."
    return _aggregate_table("mean_of_cases", f"Overall: {MEAN_OF_CASES}", caption, models, mean_of_cases)


def class_table(models: Sequence[ReportedModel]) -> Table:
    """Compare the models on every label (the paper's Table 2)."""
    labels = labels_in_order([model.metrics for model in models])
    cases = _most_cases(models)
    of_label = {
        label: {model.name: model.metrics[model.metrics["label"].astype(str) == label] for model in models}
        for label in labels
    }
    cells = _cells(models, [(of_label[label], metric) for label in labels for metric in METRICS], mean_of_cases)
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
    metrics = {model.name: model.metrics for model in students}
    cases = _most_cases(students)
    rows: list[tuple[Sequence[str], Sequence[Cell]]] = []
    for option, group in varied.items():
        cells = _cells(group, [(metrics, metric) for metric in METRICS], mean_of_labels)
        rows += [
            ([_OPTIONS.get(option, option), _option_text(model.options[option]), model.name], cells[model.name])
            for model in group
        ]
    return Table(
        name="ablations",
        title="Ablations",
        caption="The rows of a group differ in one option only. Mean of labels. "
        + _reading(rows, cases, best="of a group"),
        stubs=["Option", "Value", "Model"],
        columns=[_column(metric, cases) for metric in METRICS],
        rows=rows,
    )


def comparison_table(comparisons: Mapping[Metric, Comparison], baseline: str) -> Table:
    """The statistics of the comparison with a baseline, one row per metric and model."""
    columns = {
        "base": Column(baseline, write="{:.3g}".format),
        "other": Column("This model", write="{:.3g}".format),
        "defined_in_one": Column("In one only"),
        "difference": Column("Difference", write=signed),
        "ci_low": Column("95 % from", write=signed),
        "ci_high": Column("to", write=signed),
        "difference_of_labels": Column("Difference of labels", write=signed),
        "t_p_holm": Column("t-test p", write=p_text),
        "wilcoxon_p_holm": Column("Wilcoxon p", write=p_text),
        "cohen_dz": Column("Effect d", write=lambda value: f"{value:.2f}".replace("-", "−")),
        "gap_recovered": Column("Gap recovered", write=lambda value: f"{100 * value:.0f} %".replace("-", "−")),
    }
    tables = {
        metric: comparison.table.assign(
            defined_in_one=comparison.table["only_base"].map(str) + " + " + comparison.table["only_other"].map(str)
        )
        for metric, comparison in comparisons.items()
    }
    present = [key for key in columns if any(table[key].notna().any() for table in tables.values())]
    if all(np.allclose(t["difference"], t["difference_of_labels"], rtol=1e-9, atol=1e-12) for t in tables.values()):
        present.remove("difference_of_labels")
    by_patient = any(table["patients"].lt(table["pairs"]).any() for table in tables.values())
    drawn, unit = (", which draws patients", "patients, each the mean of its cases") if by_patient else ("", "cases")
    return Table(
        name="comparison",
        title=f"Compared with {baseline}",
        caption="Mean of cases: paired by case, each model averaged over the labels for which it has a value. In one "
        "only: values (case and label) that only the first and only the second of the two has. 95 % bootstrap "
        f"interval of the mean difference{drawn}; two-sided p-values over {unit}, with Holm's correction if several "
        f"models are compared; effect: mean over standard deviation of the differences of {unit}.",
        stubs=["Measure", "Model"],
        columns=[columns[key] for key in present],
        rows=[
            (
                [metric.label, str(name)],
                [Cell(row[key] if isinstance(row[key], str) else float(row[key])) for key in present],
            )
            for metric, table in tables.items()
            for name, row in table.iterrows()
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


def _aggregate_table(
    name: str,
    title: str,
    caption: str,
    models: Sequence[ReportedModel],
    average: Callable[[pd.DataFrame, str], Mean],
) -> Table:
    cases = _most_cases(models)
    cells = _cells(models, [({model.name: model.metrics for model in models}, metric) for metric in METRICS], average)
    rows = [([model.name], cells[model.name]) for model in models]
    return Table(
        name=name,
        title=title,
        caption=f"{caption} {_reading(rows, cases)}{_left_out(models)}",
        stubs=["Model"],
        columns=[_column(metric, cases) for metric in METRICS],
        rows=rows,
    )


def _most_cases(models: Sequence[ReportedModel]) -> int:
    return max(int(model.metrics["case"].nunique()) for model in models)


def _left_out(models: Sequence[ReportedModel]) -> str:
    """Say how many values the means over all labels leave out, and which labels have none."""
    means = {
        (model.name, metric): mean_of_labels(model.metrics, metric.column) for model in models for metric in METRICS
    }
    counts = [
        f"{mean.undefined} of {metric.name} of {name}" for (name, metric), mean in means.items() if mean.undefined
    ]
    sentence = f" Undefined values (case and label) are left out: {', '.join(counts)}." if counts else ""
    if empty := dict.fromkeys(label for mean in means.values() for label in mean.empty_labels):
        sentence += f" Without any value for some model and measure, and so not in its mean: {', '.join(empty)}."
    return sentence


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
    models: Sequence[ReportedModel],
    columns: Sequence[tuple[Mapping[str, pd.DataFrame], Metric]],
    average: Callable[[pd.DataFrame, str], Mean],
) -> dict[str, list[Cell]]:
    """Mean and standard error of every model in every column, with the best students of a column marked."""
    rows: dict[str, list[Cell]] = {model.name: [] for model in models}
    for metrics, metric in columns:
        means = {model.name: average(metrics[model.name], metric.column) for model in models}
        best = _best([means[student.name].value for student in students_of(models)], metric)
        for model in models:
            mean = means[model.name]
            rows[model.name].append(
                Cell(
                    value=mean.value,
                    error=mean.error,
                    count=mean.cases,
                    best=model.role == "student" and metric.text(mean.value) == best,
                )
            )
    return rows


def _best(students: Sequence[float], metric: Metric) -> str | None:
    """The best mean as it is written, so that equal numbers look equal; `None` if no mean differs from the others."""
    means = [mean for mean in students if isfinite(mean)]
    if len({metric.text(mean) for mean in means}) < 2:
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
