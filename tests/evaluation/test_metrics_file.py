"""Files of metrics: written, read, and refused."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest

from nndistill.errors import UserError
from nndistill.evaluation.metrics_file import COLUMNS, MAKER, Evaluation, read_metrics, summary_path, write_evaluation


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
