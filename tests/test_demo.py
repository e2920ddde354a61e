"""The smallest demo: from nothing to the report, and continued after a stop."""

from __future__ import annotations

import json

import pytest
from PIL import Image

from nndistill import demo
from nndistill.demo import DemoSize, run_demo

TINY = DemoSize(
    cases=5,
    test_cases=2,
    shape=(32, 40, 32),
    spacing=(4.0, 4.0, 4.0),
    patch_size=(32, 32, 32),
    teacher_features=(8, 16, 32),
    teacher_epochs=2,
    student_epochs=2,
    iterations=2,
    validation_iterations=1,
)


@pytest.fixture
def workspace(tmp_path, monkeypatch):
    for variable in ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results"):
        monkeypatch.setenv(variable, "")
    monkeypatch.setenv("nnUNet_n_proc_DA", "0")  # as for repeatable trainings; nnU-Net's planner does not take it
    return tmp_path


@pytest.mark.slow
def test_demo_stopped_in_the_middle_continues_to_the_report(workspace, monkeypatch):
    trained = []

    def stopped_at_the_third(run, **options):
        trained.append(run.plans_name)
        if len(trained) == 3:
            raise KeyboardInterrupt
        return train(run, **options)

    train = demo.train
    monkeypatch.setattr(demo, "train", stopped_at_the_third)
    with pytest.raises(KeyboardInterrupt):
        run_demo(workspace, device="cpu", size=TINY)
    result = run_demo(workspace, device="cpu", size=TINY)

    assert len(trained) == 4, "what was finished is not trained again"
    assert trained[2] == trained[3]
    assert list(result.models) == ["Teacher", "Student, no distillation", "Student, DCD"]
    assert result.cases == 2
    overall = result.report.tables["overall"].records
    assert [row["Model"] for row in overall] == list(result.models)
    assert all(0 <= row[measure] <= 1 for row in overall for measure in ("Dice", "NSD"))
    assert all(row["HD95 (mm)"] > 0 for row in overall)
    assert result.costs.loc["network", "parameters"] > result.costs.loc["student", "parameters"]
    assert result.report.page == workspace / "report" / "report.html"
    assert result.report.page.stat().st_size < 5_000_000
    with Image.open(workspace / "report" / "figures" / "comparison.png") as figure:
        assert min(figure.size) > 500
    json.dumps(result.numbers, default=float)
