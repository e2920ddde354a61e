"""Messages for people."""

from nndistill.errors import UnknownName


def test_unknown_name_suggests_and_lists():
    error = UnknownName("method", "dcb", ["dcd", "feature"])
    assert str(error) == "there is no method 'dcb'. Did you mean 'dcd'? Known: dcd, feature."


def test_nothing_is_suggested_where_nothing_is_near():
    assert "mean" not in str(UnknownName("method", "xyz", ["dcd"]))
