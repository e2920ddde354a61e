"""Where the patient of a case is found, and tables that do not say it."""

from __future__ import annotations

import json

import pytest

from nndistill.errors import UserError
from nndistill.evaluation.patients import known_patients, read_patients


def test_table_keeps_names_like_numbers(tmp_path):
    (tmp_path / "patients.csv").write_text("patient,age,case\n00005,60,a-100\n00005,61,a-101\nNA,50,b\n")
    assert read_patients(tmp_path / "patients.csv") == {"a-100": "00005", "a-101": "00005", "b": "NA"}


def test_report_of_a_prepared_data_set_is_a_table_too(tmp_path):
    report = {"cases": {"a-100": {"patient": "a", "shape": [1, 2, 3]}, "a-101": {"patient": "a"}}}
    (tmp_path / "report.json").write_text(json.dumps(report))
    assert read_patients(tmp_path / "report.json") == {"a-100": "a", "a-101": "a"}
    assert known_patients([tmp_path / "nowhere", tmp_path]) == {"a-100": "a", "a-101": "a"}
    assert known_patients([tmp_path / "nowhere"]) == {}
    (tmp_path / "report.json").write_text("[]")
    assert known_patients([tmp_path]) == {}


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("p.csv", None, "is missing"),
        ("p.csv", b"\xff\xfe\x00", "cannot be read as CSV"),
        ("p.csv", b"case,subject\na,b\n", "has no column patient"),
        ("p.csv", b"case,patient\na,\n", "without a case or a patient"),
        ("p.csv", b"case,patient\na,p\na,q\n", "names the case a twice"),
        ("p.json", b"{}", "names no patients"),
        ("p.json", b"[", "cannot be read as JSON"),
    ],
)
def test_bad_table_is_told_in_a_sentence(tmp_path, name, content, sentence):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=sentence):
        read_patients(tmp_path / name)
