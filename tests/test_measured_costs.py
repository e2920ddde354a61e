"""Costs that a report takes from a file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from nndistill.errors import UserError
from nndistill.gather.measured_costs import MeasuredCost, read_costs


def written(folder: Path, content: dict[str, Any]) -> Path:
    file = folder / "benchmark.json"
    file.write_text(json.dumps(content))
    return file


def test_a_benchmark_is_read_with_what_else_it_holds(tmp_path: Path) -> None:
    measured = {"latency_s": 2, "memory_bytes": 3, "measured_on": "2 cores", "patch_s": [1, 2]}
    file = written(tmp_path, {"benchmark": {"rounds": 5}, "DCD": measured, "Other": {"latency_s": None}})
    costs = read_costs(file, ["Teacher", "DCD"])
    assert costs["DCD"] == MeasuredCost(latency_s=2.0, memory_bytes=3, measured_on="2 cores")
    assert costs["Other"] == MeasuredCost()


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ({"DCD": 0.41}, "DCD: .*0.41"),
        ({"DCD": {"latency_s": "0.41 s"}}, "DCD: latency_s: .*'0.41 s'"),
        ({"DCD": {"memory_bytes": -1}}, "DCD: memory_bytes: .*-1"),
        ({"dcd": {"latency_s": 1.0}}, "there is no model 'dcd'. Known: DCD, Teacher"),
    ],
)
def test_a_mistake_in_the_file_is_a_sentence(tmp_path: Path, content: dict[str, Any], sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        read_costs(written(tmp_path, content), ["Teacher", "DCD"])
