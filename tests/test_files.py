"""Atomic files: complete or not there."""

from __future__ import annotations

import errno

import pytest

from nndistill.errors import UserError
from nndistill.files import atomic_path, read_json, write_json


def test_error_while_writing_keeps_the_previous_file(tmp_path):
    path = tmp_path / "file"
    path.write_text("before")
    with pytest.raises(ZeroDivisionError), atomic_path(path) as temporary:
        _half_of_it(temporary)
    assert path.read_text() == "before"
    assert list(tmp_path.iterdir()) == [path]


def test_full_disk_is_one_sentence_and_keeps_the_previous_file(tmp_path):
    path = tmp_path / "file"
    path.write_text("before")
    with pytest.raises(UserError, match=r"disk is full.*intact"), atomic_path(path):
        raise OSError(errno.ENOSPC, "No space left on device")
    assert path.read_text() == "before"


def test_json_comes_back(tmp_path):
    write_json(tmp_path / "new" / "a.json", {"a": [1, 2.5]})
    assert read_json(tmp_path / "new" / "a.json") == {"a": [1, 2.5]}


def test_damaged_json_names_the_file(tmp_path):
    (tmp_path / "a.json").write_text("{")
    with pytest.raises(UserError, match=r"a\.json"):
        read_json(tmp_path / "a.json")


def _half_of_it(path):
    path.write_text("half of what")
    raise ZeroDivisionError
