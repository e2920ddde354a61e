"""Table and figure of a benchmark show what was measured, and leave out what was not."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure

from made_reports import spread
from nndistill.benchmark.result import Benchmark, ModelResult
from nndistill.benchmark.timing import Timing
from nndistill.reporting.figures.benchmark import draw_benchmark
from nndistill.reporting.figures.chart import save_chart
from nndistill.reporting.tables.benchmark import benchmark_table
from nndistill.runtime.cases import InputCase

MACHINE = {"processor": "Some CPU", "cores": 2}


def costs(name: str, *, patch: float, case: float | None, **known: int) -> ModelResult:
    facts = {"backend": "openvino", "precision": "bfloat16", "patch": [4, 5, 6], "versions": {}, "device": "Some CPU"}
    around = (0.9, 1.0, 1.1)
    return ModelResult(
        name=name,
        path=Path(name),
        facts=facts,
        patch=Timing(tuple(patch * factor for factor in around)),
        case=None if case is None else Timing(tuple(case * factor for factor in around)),
        memory_bytes=3 * 2**30,
        busy_cores=2.0,
        disk_bytes=5_000_000,
        **known,
    )


def made(*models: ModelResult) -> Benchmark:
    conditions = {"machine": MACHINE, "case": "head", "case_voxels": 7_200_000, "mirroring": True}
    return Benchmark(models, InputCase("head", {}), ".nii.gz", conditions)


TWO = made(
    costs("Teacher", patch=10, case=900, parameters=102_000_000, flops_patch=1587 * 10**9),
    costs("Student", patch=0.4, case=30),
)


def positions(figure: Figure) -> dict[str, tuple[float, float]]:
    """Where the markers of a figure are, by their colours."""
    lines = [line for line in figure.axes[0].lines if line.get_marker() not in {"None", "", "|", "_"}]
    return {str(line.get_color()): (float(line.get_xdata()[0]), float(line.get_ydata()[0])) for line in lines}


def test_table_holds_what_was_measured() -> None:
    texts = benchmark_table(TWO, {"Student": spread(0.8)}).texts
    teacher, student = texts.iloc[0], texts.iloc[1]
    assert (teacher["Parameters"], student["Parameters"]) == ("102.000 M", "–")
    assert (teacher["FLOPs per patch"], student["FLOPs per patch"]) == ("1587.0 G", "–")
    assert (student["Seconds per patch"], student["Speed-up, patch"]) == ("0.4", "25.0")
    assert (student["Seconds per case"], student["Speed-up, case"]) == ("30", "30.0")
    assert (student["On disk"], student["Peak memory"]) == ("5.0 MB", "3072 MiB")
    assert (teacher["Dice ↑"], student["Dice ↑"][:2]) == ("–", "0.")


def test_table_leaves_out_what_was_not_measured() -> None:
    table = benchmark_table(made(costs("A", patch=1, case=None), costs("B", patch=1, case=None)))
    headings = {column.heading for column in table.columns}
    assert "Seconds per patch" in headings
    assert not headings & {"Seconds per case", "Parameters", "FLOPs per patch", "Dice ↑"}
    assert "Case:" not in table.caption
    assert "Case: head" in benchmark_table(TWO).caption


def test_figure_shows_dice_against_latency_on_a_logarithmic_axis() -> None:
    metrics = {"Teacher": spread(0.9), "Student": spread(0.8)}
    figure = draw_benchmark(TWO, metrics)
    means = [metrics[name].groupby("case")["dice"].mean().mean() for name in metrics]
    np.testing.assert_allclose(sorted(positions(figure).values()), sorted(zip([900, 30], means, strict=True)))
    assert figure.axes[0].get_xscale() == "log"
    assert "Seconds per case" in figure.axes[0].get_xlabel()


def test_figure_shows_latencies_alone_where_there_are_no_metrics(tmp_path) -> None:
    save_chart(draw_benchmark(TWO), tmp_path, "benchmark")
    svg = (tmp_path / "benchmark.svg").read_text()
    for words in ("Teacher", "Student", "900 s", "30 s, 30 × as fast"):
        assert f">{words}</text>" in svg


def test_figure_shows_patches_where_one_model_has_no_case() -> None:
    models = [TWO.models[0], replace(TWO.models[1], case=None)]
    figure = draw_benchmark(made(*models))
    assert sorted(x for x, _ in positions(figure).values()) == pytest.approx([0.4, 10])
    assert "Seconds per patch" in figure.axes[0].get_xlabel()
