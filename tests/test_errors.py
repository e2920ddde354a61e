"""Messages for people, and the way they take from one process to another."""

from __future__ import annotations

import copy
import pickle

import pytest

from nndistill.errors import StageMismatch, UnknownName, UserError
from nndistill.evaluation.folder import EvaluationIncomplete


def test_unknown_name_suggests_and_lists():
    error = UnknownName("method", "dcb", ["dcd", "feature"])
    assert str(error) == "there is no method 'dcb'. Did you mean 'dcd'? Known: dcd, feature."


def test_nothing_is_suggested_where_nothing_is_near():
    assert "mean" not in str(UnknownName("method", "xyz", ["dcd"]))


class _WithMore(UserError):
    """A mistake whose class makes the message itself."""

    def __init__(self, first: str, second: str) -> None:
        super().__init__(f"{first} and {second}.", option=("first", "second"))
        self.both = [first, second]


ERRORS = [
    UserError("a reduction of 3 does not divide 32 channels.", option="reduction"),
    UserError("no option is meant."),
    UnknownName("method", "dcb", ["dcd", "feature"], option=("method", "recipe")),
    StageMismatch("stage 2 differs.", option="features"),
    EvaluationIncomplete("1 of 2 cases cannot be evaluated.", None),
    _WithMore("one", "two"),
    EvaluationIncomplete("1 of 2 cases cannot be evaluated.", None),
]


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_pickling_keeps_class_message_and_options(error, protocol):
    _assert_same(pickle.loads(pickle.dumps(error, protocol)), error)


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_copying_keeps_class_message_and_options(error):
    _assert_same(copy.copy(error), error)
    _assert_same(copy.deepcopy(error), error)


def _assert_same(copied: UserError, error: UserError) -> None:
    assert type(copied) is type(error)
    assert str(copied) == str(error)
    assert copied.flags == error.flags
    assert vars(copied) == vars(error)
