"""Prints of other libraries: kept in a log or dropped, while warnings and errors are treated apart."""

from __future__ import annotations

import logging
import sys
import warnings

import pytest

from nndistill.suppress_output import suppress_output, suppress_warnings


def test_prints_go_to_the_end_of_the_log_and_nowhere_else(tmp_path, capsys):
    log = tmp_path / "new" / "log.txt"
    for text in ("first", "second é"):
        with suppress_output(log):
            print(text)
    assert log.read_text(encoding="utf-8") == "first\nsecond é\n"
    assert capsys.readouterr().out == ""


def test_prints_are_dropped_without_a_log(capsys):
    with suppress_output():
        print("lost")
        print("kept", file=sys.stderr)
    print("afterwards")
    assert capsys.readouterr() == ("afterwards\n", "kept\n")


def _speak() -> None:
    warnings.warn("warning", stacklevel=1)
    logging.getLogger("other").warning("record")
    logging.getLogger("other").error("error")


def test_output_alone_leaves_warnings_and_log_records(caplog, recwarn):
    with suppress_output():
        _speak()
    assert [str(each.message) for each in recwarn] == ["warning"]
    assert caplog.messages == ["record", "error"]


def test_warnings_and_log_records_below_errors_are_dropped_in_the_block_alone(caplog, recwarn):
    with suppress_warnings():
        _speak()
    assert not recwarn
    assert caplog.messages == ["error"]
    _speak()
    assert [str(each.message) for each in recwarn] == ["warning"]
    assert caplog.messages == ["error", "record", "error"]


def test_error_in_the_block_ends_the_silence(caplog):
    with pytest.raises(ZeroDivisionError), suppress_warnings():
        raise ZeroDivisionError
    logging.getLogger("other").warning("afterwards")
    assert caplog.messages == ["afterwards"]
