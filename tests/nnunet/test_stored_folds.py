"""The folds of a data set are a list of names, and anything else in their file is a sentence that names it."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from nndistill.errors import UserError
from nndistill.nnunet.data.stored_folds import SPLIT, stored_folds

FOLDS = [{"train": ["a", "b"], "val": ["c"]}, {"train": ["c"], "val": ["a", "b"]}]


def test_folds_are_those_of_the_file(tmp_path: Path) -> None:
    (tmp_path / SPLIT).write_text(json.dumps(FOLDS))

    assert stored_folds(tmp_path) == FOLDS


def test_without_a_file_there_are_none_yet(tmp_path: Path) -> None:
    assert stored_folds(tmp_path) is None


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (json.dumps(FOLDS)[:-1] + ",]", "is not valid JSON"),
        ("[]", "has to be a list of folds"),
        (json.dumps({"0": FOLDS[0]}), "has to be a list of folds"),
        (json.dumps([{"train": ["a"]}]), "in `train` and in `val`"),
        (json.dumps([{"train": ["a"], "val": "b"}]), "in `train` and in `val`"),
        (json.dumps([{"train": [1], "val": ["b"]}]), "names of its cases"),
    ],
)
def test_another_content_is_a_sentence(tmp_path: Path, content: str, words: str) -> None:
    (tmp_path / SPLIT).write_text(content)

    with pytest.raises(UserError, match=re.escape(words)) as refused:
        stored_folds(tmp_path)

    assert str(tmp_path / SPLIT) in str(refused.value)
