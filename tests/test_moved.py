"""Import paths that the documentation of version 0.1 named still work, and say where things are now."""

from __future__ import annotations

import sys
from importlib import import_module

import pytest

from nndistill.moved import MOVED


@pytest.mark.parametrize(("old", "new"), MOVED.items())
def test_an_old_path_leads_to_the_new_module_and_warns(old: str, new: str) -> None:
    sys.modules.pop(old, None)
    with pytest.warns(DeprecationWarning, match=f"{old} has moved to {new}"):
        module = import_module(old)
    public = [name for name in vars(import_module(new)) if not name.startswith("_")]
    assert public or old == "nndistill.deployment"
    assert all(getattr(module, name) is getattr(import_module(new), name) for name in public)


@pytest.mark.parametrize("name", ["gather", "Evaluated"])
def test_a_name_that_moved_is_found_under_its_old_module_and_warns(name: str) -> None:
    import nndistill.gather
    import nndistill.reporting

    with pytest.warns(DeprecationWarning, match=f"reporting.{name} has moved to nndistill.gather"):
        assert getattr(nndistill.reporting, name) is getattr(nndistill.gather, name)


def test_a_path_that_never_was_is_not_found() -> None:
    with pytest.raises(ModuleNotFoundError):
        import_module("nndistill.deployment.costs")
