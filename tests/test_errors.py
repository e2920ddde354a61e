"""Messages for people."""

import pickle

import pytest

from nndistill.errors import StageMismatch, UnknownName, UserError
from nndistill.evaluation.folder import EvaluationIncomplete


def test_unknown_name_suggests_and_lists():
    error = UnknownName("method", "dcb", ["dcd", "feature"])
    assert str(error) == "there is no method 'dcb'. Did you mean 'dcd'? Known: dcd, feature."


def test_nothing_is_suggested_where_nothing_is_near():
    assert "mean" not in str(UnknownName("method", "xyz", ["dcd"]))


@pytest.mark.parametrize(
    "error",
    [
        UserError("a reduction of 3 does not divide 32 channels.", option="reduction"),
        UserError("there is nothing to resume.", option=("resume", "name")),
        UnknownName("method", "dcb", ["dcd", "feature"], option="method"),
        StageMismatch("stage 2 differs."),
        EvaluationIncomplete("1 of 2 cases cannot be evaluated.", None),
    ],
)
def test_error_comes_back_from_another_process_as_it_was(error):
    returned = pickle.loads(pickle.dumps(error))
    assert type(returned) is type(error)
    assert str(returned) == str(error)
    assert vars(returned) == vars(error)
    assert returned.flags == error.flags
