"""The figure of a feature in its bands."""

from __future__ import annotations

import torch

from nndistill.analysis.bands import stage_bands
from nndistill.reporting.figures.bands import draw_bands


def test_teacher_student_and_difference_share_their_columns(tmp_path):
    teacher = torch.randn(1, 2, 12, 16, 20)
    bands = stage_bands(teacher, 0.5 * teacher)
    drawing = draw_bands(bands, stage=2, case="case_1", spacing=(2.0, 1.0, 1.0), phi="run")
    panels = drawing.figure.axes
    assert [axes.get_ylabel() for axes in panels[::5]] == ["teacher", "student, φ", "difference"]
    assert [axes.get_title() for axes in panels[:5]][:4] == ["feature", "LLL, level 1", "D, level 1", "HHH, level 1"]
    assert {axes.get_xlabel() for axes in panels[10:]} == {"0.25"}  # half of everything is missing
    for first, second in zip(panels[:5], panels[5:10], strict=True):
        assert first.images[0].get_clim() == second.images[0].get_clim()
    assert "φ (run)" in drawing.caption
    assert f"levels 1–{bands.levels}" in drawing.caption
    assert sorted(path.suffix for path in drawing.write(tmp_path)) == [".pdf", ".png", ".svg"]


def test_without_a_student_there_is_one_row():
    drawing = draw_bands(stage_bands(torch.randn(1, 2, 8, 8, 8)), stage=1, case="a", spacing=(1, 1, 1), phi=None)
    assert len(drawing.figure.axes) == 5
    assert "student" not in drawing.caption
