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


@pytest.mark.parametrize(
    ("old", "name", "new", "new_name"),
    [
        ("nndistill.reporting", "gather", "nndistill.gather", "gather_results"),
        ("nndistill.evaluation.comparison", "compare_metrics", "nndistill.evaluation.comparison", "compare"),
        ("nndistill.reporting", "Evaluated", "nndistill.gather", "EvaluationSettings"),
        ("nndistill.evaluation.dataset_labels", "labels_of", "nndistill.evaluation.dataset_labels", "label_values"),
    ],
)
def test_a_name_that_moved_is_found_under_its_old_module_and_warns(old, name, new, new_name) -> None:
    place = new if name == new_name else f"{new}.{new_name}"
    with pytest.warns(DeprecationWarning, match=f"{old}.{name} has moved to {place}"):
        assert getattr(import_module(old), name) is getattr(import_module(new), new_name)


def test_a_path_that_never_was_is_not_found() -> None:
    with pytest.raises(ModuleNotFoundError):
        import_module("nndistill.deployment.costs")
