"""Charts are written as vectors and pixels, show every score, and change with the scores."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from made_reports import metrics, spread, three_models
from nndistill.evaluation.comparison import compare
from nndistill.reporting import ReportedModel
from nndistill.reporting.figures.chart import save_chart
from nndistill.reporting.figures.differences import draw_differences
from nndistill.reporting.figures.distributions import FEWEST_FOR_A_BOX, draw_distributions
from nndistill.reporting.figures.palette import GREY, INK, LABELS, STUDENTS, model_styles
from nndistill.reporting.figures.training_curves import draw_training_curves
from nndistill.reporting.metrics import DICE, HD95, METRICS

NAN = float("nan")


def points(figure) -> list[np.ndarray]:
    """Positions of every scatter in a figure."""
    return [np.asarray(c.get_offsets()) for axes in figure.axes for c in axes.collections if len(c.get_offsets()) > 1]


def test_chart_is_two_vector_files_and_one_of_pixels(tmp_path: Path) -> None:
    files = draw_distributions(three_models(), DICE).write(tmp_path)
    assert [file.name for file in files] == ["dice.pdf", "dice.svg", "dice.png"]
    assert files[0].read_bytes().startswith(b"%PDF")
    svg = files[1].read_text()
    for words in ("Teacher", "Alone", "core", "rim", "all labels", "Dice"):
        assert f">{words}</text>" in svg
    with Image.open(files[2]) as picture:
        assert picture.width == pytest.approx(1400, abs=20)
        assert len(np.unique(np.asarray(picture))) > 20


def test_same_numbers_give_the_same_file_and_others_another(tmp_path: Path) -> None:
    models = three_models()
    others = [models[0], replace(models[1], metrics=spread(0.5))]
    for name, shown in {"one": models, "again": models, "other": others}.items():
        save_chart(draw_distributions(shown, DICE).figure, tmp_path, name)
    read = {name: (tmp_path / f"{name}.svg").read_bytes() for name in ("one", "again", "other")}
    assert read["one"] == read["again"] != read["other"]


@pytest.mark.parametrize("metric", METRICS)
def test_every_defined_score_is_a_point(metric) -> None:
    model = ReportedModel("a", metrics({"core": [0.9, 0.8, NAN, 0.7], "rim": [0.2, 0.3, 0.4, 0.5]}))
    drawn = points(draw_distributions([model], metric).figure)
    means = model.metrics.groupby("case")[metric.column].mean()
    expected = [means, *(group[metric.column].dropna() for _, group in model.metrics.groupby("label"))]
    for found, wanted in zip(drawn, expected, strict=True):
        np.testing.assert_allclose(np.sort(found[:, 1]), np.sort(wanted))


def test_few_cases_get_no_box_and_the_caption_does_not_explain_one() -> None:
    for cases in (FEWEST_FOR_A_BOX - 1, FEWEST_FOR_A_BOX):
        model = ReportedModel("a", metrics({"core": list(np.linspace(0.2, 0.8, cases))}))
        drawing = draw_distributions([model], DICE)
        assert len(drawing.figure.axes[0].patches) == (1 if cases == FEWEST_FOR_A_BOX else 0)
        assert ("whiskers" in drawing.caption) == (cases == FEWEST_FOR_A_BOX)


def test_far_distances_get_a_logarithmic_scale() -> None:
    near, far = (ReportedModel("a", metrics({"core": [0.2, 0.8]}, hd95=scale)) for scale in (10.0, 300.0))
    assert draw_distributions([near], HD95).figure.axes[0].get_yscale() == "linear"
    assert draw_distributions([far], HD95).figure.axes[0].get_yscale() == "symlog"


def test_nothing_defined_is_drawn_empty(tmp_path: Path) -> None:
    model = ReportedModel("a", metrics({"core": [NAN, NAN]}))
    for metric in METRICS:
        assert all(file.stat().st_size for file in draw_distributions([model], metric).write(tmp_path))


def test_differences_are_those_of_the_comparison() -> None:
    models = three_models()
    others = {"DCD <b>": models[2].metrics}
    comparisons = {m: compare(models[1].metrics, others, metric=m.column) for m in METRICS}
    figure = draw_differences(models, comparisons, baseline="Alone").figure
    for axes, (metric, comparison) in zip(figure.axes, comparisons.items(), strict=True):
        drawn = np.asarray(axes.collections[0].get_offsets())[:, 0]
        np.testing.assert_allclose(np.sort(drawn), np.sort(comparison.differences["DCD <b>"]))
        assert axes.get_title() == ("← better" if metric is HD95 else "better →")
        interval = next(line for line in axes.lines if line.get_linewidth() > 2)
        bounds = comparison.table.loc["DCD <b>", ["ci_low", "ci_high"]].to_numpy(float)
        np.testing.assert_allclose(interval.get_xdata(), bounds)


def test_training_curves_leave_out_what_is_not_there() -> None:
    models = three_models()
    titles = [axes.get_title() for axes in draw_training_curves(models).figure.axes]
    assert titles == ["Segmentation loss (training)", "Pseudo Dice (moving average)"]
    distilled = pd.DataFrame({"segmentation_loss": [1.0], "distillation_loss": [0.3], "dice": [0.5]})
    figure = draw_training_curves([models[0], replace(models[2], curves=distilled)]).figure
    assert [len(axes.lines) for axes in figure.axes] == [2, 1, 2]
    assert draw_training_curves([models[1]]) is None


def test_models_differ_in_colour_or_marker_and_teachers_are_grey() -> None:
    models = [ReportedModel(str(i), spread(0.5), role="teacher" if i == 0 else "student") for i in range(9)]
    styles = model_styles(models)
    assert len(set(styles.values())) == 9
    assert styles["0"].colour == GREY
    assert INK not in {*STUDENTS, *LABELS, GREY}


def test_charts_leave_no_global_state(tmp_path: Path) -> None:
    before = dict(mpl.rcParams)
    draw_distributions(three_models(), DICE).write(tmp_path)
    assert dict(mpl.rcParams) == before
