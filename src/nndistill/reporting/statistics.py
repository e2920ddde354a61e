"""The statistics of a report: the model that the students are compared with, and the comparisons."""

from __future__ import annotations

from collections.abc import Sequence

from ..errors import UnknownName
from ..evaluation.comparison import Comparison, compare
from .metrics import METRICS, Metric
from .model_results import ReportedModel, students_of, teacher_of


def choose_baseline(models: Sequence[ReportedModel], name: str | None = None) -> ReportedModel | None:
    """The model to compare the others with; `None` if there is only one model.

    Args:
        models: All models of the report.
        name: Name of the baseline; default: the student without distillation, otherwise the teacher.

    Raises:
        UnknownName: No model has this name.
    """
    if name is not None:
        found = {model.name: model for model in models}
        if name not in found:
            raise UnknownName("model", name, found, option="baseline")
        return found[name]
    if len(models) < 2:
        return None
    undistilled = next((model for model in models if model.method == "none"), None)
    return undistilled or teacher_of(models) or models[0]


def compare_with_baseline(models: Sequence[ReportedModel], baseline: ReportedModel | None) -> dict[Metric, Comparison]:
    """Compare every student with the baseline, by metric; empty if there is nothing to compare.

    A metric of which one of them has no value at all, such as a distance where none is measured, is left out.
    """
    others = [model for model in students_of(models) if model is not baseline]
    if baseline is None or not others:
        return {}
    teacher = teacher_of(models)
    return {
        metric: compare(
            baseline.metrics,
            {model.name: model.metrics for model in others},
            metric=metric.column,
            teacher=None if teacher is None or teacher is baseline else teacher.metrics,
        )
        for metric in METRICS
        if all(model.metrics[metric.column].notna().any() for model in (baseline, *others))
    }
