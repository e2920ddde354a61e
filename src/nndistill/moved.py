"""Import paths that the documentation of version 0.1 named: they lead to the new place, with a warning."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

MOVED = {
    "nndistill.deployment": "nndistill.runtime",
    "nndistill.deployment.cases": "nndistill.runtime.cases",
    "nndistill.deployment.image": "nndistill.runtime.image",
    "nndistill.deployment.postprocessing": "nndistill.runtime.postprocessing",
    "nndistill.deployment.preprocessing": "nndistill.runtime.preprocessing",
    "nndistill.deployment.sliding_window": "nndistill.runtime.sliding_window",
    "nndistill.datasets.report": "nndistill.datasets.preparation.report",
    "nndistill.evaluation.complexity": "nndistill.analysis.complexity",
    "nndistill.evaluation.costs": "nndistill.analysis.costs",
    "nndistill.evaluation.diagnosis": "nndistill.analysis.diagnosis",
    "nndistill.evaluation.mismatch": "nndistill.analysis.mismatch",
    "nndistill.evaluation.reductions": "nndistill.analysis.reductions",
    "nndistill.evaluation.spectrum": "nndistill.analysis.spectrum",
    "nndistill.nnunet.distillation": "nndistill.nnunet.training.student",
    "nndistill.nnunet.history": "nndistill.nnunet.models.history",
    "nndistill.nnunet.model_folder": "nndistill.nnunet.models.model_folder",
    "nndistill.nnunet.prediction": "nndistill.nnunet.models.prediction",
    "nndistill.nnunet.preprocessing": "nndistill.nnunet.data.preprocessing",
    "nndistill.nnunet.run": "nndistill.nnunet.training.run",
    "nndistill.nnunet.scores": "nndistill.nnunet.models.scores",
    "nndistill.nnunet.teaching": "nndistill.nnunet.training.teacher",
}
"""Old module to new one. A module that is not here was never public."""


def lead_to_moved_modules() -> None:
    """Let the old paths be imported."""
    sys.meta_path.append(_MovedModules())


def names_from(new_places: Mapping[str, str], *, old: str) -> Callable[[str], Any]:
    """Make the `__getattr__` of a module some of whose names have moved to other modules.

    Args:
        new_places: The module that now holds a name, by name; `module:new_name` if the name has changed too.
        old: The module that held them, its `__name__`.
    """

    def moved(name: str) -> Any:
        if name not in new_places:
            raise AttributeError(f"module {old!r} has no attribute {name!r}")
        module, _, new_name = new_places[name].partition(":")
        place = f"{module}.{new_name}" if new_name else module
        warnings.warn(f"{old}.{name} has moved to {place}.", DeprecationWarning, stacklevel=2)
        return getattr(import_module(module), new_name or name)

    return moved


class _MovedModules(MetaPathFinder, Loader):
    """Finds a module under its old path; asked last, so a module that exists is never shadowed."""

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if name not in MOVED:
            return None
        is_package = any(other.startswith(f"{name}.") for other in MOVED)
        return ModuleSpec(name, self, is_package=is_package)

    def exec_module(self, module: ModuleType) -> None:
        new = MOVED[module.__name__]
        warnings.warn(f"{module.__name__} has moved to {new}.", DeprecationWarning, stacklevel=2)

        def from_new_place(name: str) -> Any:
            return getattr(import_module(new), name)

        module.__getattr__ = from_new_place  # type: ignore[method-assign]
