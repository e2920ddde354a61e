"""Where each method is, by name, found without importing any: in this package's files and in installed packages.

So the command line lists all methods in its help without importing PyTorch.
"""

from __future__ import annotations

import ast
import logging
import sys
from collections.abc import Iterator
from functools import cache
from importlib.abc import InspectLoader
from importlib.metadata import EntryPoint, entry_points
from importlib.util import find_spec
from pkgutil import iter_modules
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .base import Method

logger = logging.getLogger(__name__)

GROUP = "nndistill.methods"
"""The entry-point group by which another package offers methods: `name = "module:Class"`."""

REGISTERED: dict[str, type[Method]] = {}
"""The methods that have been imported, or registered in a script, by name."""


def method_names() -> list[str]:
    """Names of all methods that can be built, nnDistill's and others', sorted; `none`, the baseline, is the last."""
    return sorted({*shipped_methods(), *installed_methods(), *REGISTERED}, key=lambda name: (name == "none", name))


@cache
def shipped_methods() -> dict[str, EntryPoint]:
    """The methods of this package by name: the classes in its modules that have the decorator `register`."""
    assert __package__ is not None
    modules = iter_modules(sys.modules[__package__].__path__, f"{__package__}.")
    return {
        name: EntryPoint(name, f"{module.name}:{class_name}", GROUP)
        for module in modules
        if not module.ispkg
        for name, class_name in _registered_classes(_source(module.name))
    }


@cache
def installed_methods() -> dict[str, EntryPoint]:
    """The methods that other installed packages offer, by name; a name that is taken is left out with a warning."""
    found: dict[str, EntryPoint] = {}
    for entry in entry_points(group=GROUP):
        taken = "nnDistill" if entry.name in shipped_methods() else package_of(found.get(entry.name))
        if taken:
            logger.warning(
                "%s offers a distillation method called %s, but so does %s, whose method is used. "
                "The other one needs another name.",
                package_of(entry),
                entry.name,
                taken,
            )
        else:
            found[entry.name] = entry
    return found


def package_of(entry: EntryPoint | None) -> str:
    """Name of the installed package that offers a method; empty if there is none."""
    return entry.dist.name if entry is not None and entry.dist is not None else ""


def _source(module: str) -> str:
    spec = find_spec(module)
    loader = spec.loader if spec else None
    return (loader.get_source(module) or "") if isinstance(loader, InspectLoader) else ""


def _registered_classes(source: str) -> Iterator[tuple[str, str]]:
    """`name` and class name of every class in a module's text that has the decorator `register`."""
    for node in ast.parse(source).body:
        if isinstance(node, ast.ClassDef) and any(ast.unparse(d) == "register" for d in node.decorator_list):
            for statement in node.body:
                match statement:
                    case (
                        ast.Assign(targets=[ast.Name(id="name")], value=ast.Constant(value=str(name)))
                        | ast.AnnAssign(target=ast.Name(id="name"), value=ast.Constant(value=str(name)))
                    ):
                        yield name, node.name
