"""Atomic files: complete or not there."""

from __future__ import annotations

import errno
import hashlib
import json
import subprocess
import sys

import numpy as np
import pytest

from nndistill import files
from nndistill.errors import UserError
from nndistill.files import atomic_folder, atomic_path, digest, locked, read_json, write_json


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


def test_a_link_is_put_in_place_and_what_it_leads_to_is_not_opened(tmp_path):
    with atomic_path(tmp_path / "link") as temporary:
        temporary.symlink_to(tmp_path / "nowhere")  # which cannot be opened at all
    assert (tmp_path / "link").readlink() == tmp_path / "nowhere"
    assert list(tmp_path.iterdir()) == [tmp_path / "link"]


def test_json_comes_back(tmp_path):
    write_json(tmp_path / "new" / "a.json", {"a": [1, 2.5]})
    assert read_json(tmp_path / "new" / "a.json") == {"a": [1, 2.5]}


def test_damaged_json_names_the_file(tmp_path):
    (tmp_path / "a.json").write_text("{")
    with pytest.raises(UserError, match=r"a\.json"):
        read_json(tmp_path / "a.json")


@pytest.mark.parametrize(
    ("encoding", "sentence"),
    [("utf-8-sig", "begins with a byte order mark"), ("latin-1", "another encoding"), ("utf-16", "another encoding")],
)
def test_json_in_another_encoding_says_which_is_right(tmp_path, encoding, sentence):
    (tmp_path / "a.json").write_text('{"labels": {"Läsion": 1}}', encoding=encoding)
    with pytest.raises(UserError, match=rf"a\.json .*{sentence}.*: save it in UTF-8"):
        read_json(tmp_path / "a.json")


def test_folder_takes_the_place_of_the_previous_one(tmp_path):
    for content in ("first", "second"):
        with atomic_folder(tmp_path / "new" / "folder") as temporary:
            (temporary / content).write_text(content)
    assert [file.name for file in (tmp_path / "new").rglob("*")] == ["folder", "second"]


def test_error_in_the_block_keeps_the_previous_folder(tmp_path):
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "file").write_text("before")
    with pytest.raises(ZeroDivisionError), atomic_folder(folder) as temporary:
        _half_of_it(temporary / "file")
    assert [str(file.relative_to(tmp_path)) for file in tmp_path.rglob("*")] == ["folder", "folder/file"]
    assert (folder / "file").read_text() == "before"


def test_folder_that_cannot_be_put_in_its_place_keeps_the_previous_one(tmp_path, monkeypatch):
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "file").write_text("before")
    rename = type(folder).rename

    def refuse_the_new_one(self, target):
        if self.name.endswith(".new.tmp"):
            raise OSError(errno.ENOSPC, "No space left on device")
        return rename(self, target)

    monkeypatch.setattr(type(folder), "rename", refuse_the_new_one)
    with pytest.raises(UserError, match=r"cannot write .*folder: No space left"), atomic_folder(folder):
        pass
    assert (folder / "file").read_text() == "before"
    assert list(tmp_path.iterdir()) == [folder]


@pytest.mark.parametrize("size", [0, 1, (1 << 20) - 1, 1 << 20, (2 << 20) + 3])
def test_digest_is_the_sha256_of_the_whole_file(tmp_path, size):
    content = bytes(range(256)) * (size // 256 + 1)
    (tmp_path / "file").write_bytes(content[:size])
    assert digest(tmp_path / "file") == hashlib.sha256(content[:size]).hexdigest()


def test_a_locked_file_is_refused_until_the_process_that_locked_it_ends(tmp_path):
    file = tmp_path / "folder" / ".lock"
    code = (
        "import sys; from pathlib import Path; from nndistill.files import locked\n"
        "with locked(Path(sys.argv[1]), 'busy'):\n    print('locked', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen([sys.executable, "-c", code, file], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout.readline() == b"locked\n"
        with pytest.raises(UserError, match=r"^busy$") as refused:
            locked(file, "busy", option="name")
        assert refused.value.flags == ["--name"]
        other.kill()
    with locked(file, "busy"):
        pass


def test_a_disk_that_knows_no_locks_has_none(tmp_path, monkeypatch):
    def refuse(*args, **kwargs):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(files, "FileLock", refuse)
    with locked(tmp_path / ".lock", "busy"), locked(tmp_path / ".lock", "busy"):
        pass


def _half_of_it(path):
    path.write_text("half of what")
    raise ZeroDivisionError


def test_json_holds_neither_nan_nor_infinity(tmp_path):
    numbers = {"a": [float("nan"), np.float32("inf"), np.int64(3), 1.5], "b": ({"c": -np.inf},), "d": None, "e": True}
    write_json(tmp_path / "a.json", numbers)
    text = (tmp_path / "a.json").read_text()
    found = json.loads(text, parse_constant=lambda word: pytest.fail(word))
    assert found == {"a": [None, None, 3, 1.5], "b": [{"c": None}], "d": None, "e": True}
