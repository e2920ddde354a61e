"""Files of metrics: written, read, and refused."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from nndistill.errors import UserError
from nndistill.evaluation.metrics_file import (
    COLUMNS,
    MAKER,
    Evaluation,
    check_place,
    different_settings,
    read_metrics,
    summary_path,
    write_evaluation,
)


@pytest.fixture
def evaluation():
    rows = [("a", "core", 1 / 3, 2.5, 0.1 + 0.2, 7, 9, 0.5), ("b", "core", np.nan, np.nan, np.nan, 0, 0, np.nan)]
    return Evaluation(pd.DataFrame(rows, columns=[*COLUMNS, "lesion_f1"]), {"maker": MAKER, "cases": 2})


def test_what_is_written_is_read_again(evaluation, tmp_path):
    for name, summary in (("metrics.csv", "summary.json"), ("dcd.csv", "dcd.summary.json")):
        out = tmp_path / "results" / name
        write_evaluation(evaluation, out)
        pd.testing.assert_frame_equal(read_metrics(out), evaluation.metrics)
        assert summary_path(out).name == summary
        assert json.loads(summary_path(out).read_text()) == evaluation.summary


def test_summary_of_nnunet_is_not_overwritten(evaluation, tmp_path):
    (tmp_path / "summary.json").write_text('{"foreground_mean": {}}')
    with pytest.raises(UserError, match="was not made by nndistill evaluate"):
        write_evaluation(evaluation, tmp_path / "metrics.csv")
    assert not (tmp_path / "metrics.csv").exists()
    write_evaluation(evaluation, tmp_path / "mine.csv")


def test_a_place_that_can_be_written_is_left_as_it_was(tmp_path):
    check_place(tmp_path / "new" / "folder" / "metrics.csv")
    assert not list(tmp_path.iterdir())
    with pytest.raises(UserError, match=r"^cannot write /dev/null/new/metrics\.csv: Not a directory\.$") as refused:
        check_place(Path("/dev/null/new/metrics.csv"))
    assert refused.value.flags == ["--out"]


def test_labels_of_one_name_and_other_values_are_told(tmp_path):
    """By region and by single values, ET is another thing; the order of values is none."""
    files = [tmp_path / name for name in ("single.csv", "region.csv", "none.csv")]
    recorded = {"ET": [3], "WT": [1, 2]}, {"WT": [2, 1], "ET": [1, 2, 3]}, {"RC": [4]}
    for file, values in zip(files, recorded, strict=True):
        summary_path(file).write_text(json.dumps({"maker": MAKER, "values": values}))
    told = f"The files were measured differently: the label ET is [3] in {files[0]}, [1, 2, 3] in {files[1]}."
    assert different_settings(files) == [told]
    assert different_settings(files[::2]) == []


GOOD = "case,label,dice,hd95_mm,nsd,reference_voxels,predicted_voxels\n"


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (None, "is missing"),
        (b"\xff\xfe\x00", "cannot be read as CSV"),
        (b"", "cannot be read as CSV"),
        (b"case,label,dice\na,b,0.5\n", "no column hd95_mm, nsd"),
        (GOOD.encode(), "has no rows"),
        (f"{GOOD},b,1,1,1,1,1\n".encode(), "without a case"),
        (f"{GOOD}a,b,high,1,1,1,1\n".encode(), "something other than numbers in its column dice"),
        (f"{GOOD}a,b,1,1,1,1,1\na,b,1,1,1,1,1\n".encode(), "has a, b twice"),
        (f"{GOOD}a,b,7,1,1,1,1\n".encode(), "the value 7 of dice for a, b, which is not between 0 and 1"),
        (f"{GOOD}a,b,1,-inf,1,1,1\n".encode(), "the value -inf of hd95_mm for a, b, which is not between 0 and inf"),
        (f"{GOOD}a,b,1,1,1,1,1\nc,b,1,0.".encode(), "no value of reference_voxels for c, b, .* cut short"),
        (GOOD.replace(",", ";").encode() + b"a;b;0,5;1,0;1;1;1\n", "has semicolons between its columns"),
    ],
)
def test_bad_file_of_metrics_is_told_in_a_sentence(tmp_path, content, sentence):
    path = tmp_path / "metrics.csv"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UserError, match=sentence):
        read_metrics(path)


def test_names_like_numbers_and_na_stay_names(tmp_path):
    path = tmp_path / "metrics.csv"
    path.write_text(f"{GOOD}001,NA,1,,1,1,1\n")
    metrics = read_metrics(path)
    assert (metrics["case"][0], metrics["label"][0]) == ("001", "NA")
    assert np.isnan(metrics["hd95_mm"][0])
