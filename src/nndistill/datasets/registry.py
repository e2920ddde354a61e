"""The public data sets that `nndistill prepare` knows: each is one file of this package, which registers itself."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from pkgutil import iter_modules
from typing import Any, TypeVar, get_origin, get_type_hints

from .source import Source

Find = TypeVar("Find", bound=Callable[..., Source])

_registered: dict[str, PublicDataset] = {}


@dataclass(frozen=True)
class Option:
    """How the command line presents a keyword of the function that finds a data set.

    Args:
        help: What it does, in one sentence.
        flag: Default: the keyword's name, with two dashes.
    """

    help: str
    flag: str | None = None


ALLOW_EMPTY = Option("Accept label maps that hold only background.", flag="--allow-empty")
"""For the keyword `empty_labels`."""


@dataclass(frozen=True)
class PublicDataset:
    """A data set that can be prepared by its name.

    Args:
        name: Its name on the command line.
        title: Its name in text.
        summary: What it is, in one sentence: the command's help, and a line of the documentation.
        source: What to give the command, in one sentence.
        find: Takes one path, or a sequence of them, and keywords; returns what it found there.
        options: How the command line presents each keyword of `find`.
        usual_id: The number by which nnU-Net users know the data set, if there is one.
    """

    name: str
    title: str
    summary: str
    source: str
    find: Callable[..., Source]
    options: Mapping[str, Option]
    usual_id: int | None

    @property
    def several_sources(self) -> bool:
        """Whether `find` takes several paths."""
        first, *_ = inspect.signature(self.find).parameters
        return get_origin(get_type_hints(self.find)[first]) is Sequence

    @property
    def keywords(self) -> list[inspect.Parameter]:
        """The keyword-only parameters of `find`, with their types resolved."""
        types: dict[str, Any] = get_type_hints(self.find)
        return [
            parameter.replace(annotation=types[name])
            for name, parameter in inspect.signature(self.find).parameters.items()
            if parameter.kind is parameter.KEYWORD_ONLY
        ]


def register(
    name: str,
    *,
    title: str,
    summary: str,
    source: str,
    options: Mapping[str, Option] | None = None,
    usual_id: int | None = None,
) -> Callable[[Find], Find]:
    """Register the decorated function, which finds the cases of a download, as a data set.

    The command `nndistill prepare NAME`, its help and the documentation's list derive from what is given here and from
    the function's signature. The arguments are those of `PublicDataset`.

    Raises:
        ValueError: The name is registered already.
        TypeError: `options` does not describe exactly the function's keywords.

    Example:
        A whole file of this package:

        ```python
        @register(
            "toy2030",
            title="Toy 2030",
            summary="Toy 2030: one contrast, one label.",
            source="The unpacked archive.",
            options={"strict": Option("Refuse cases without a lesion.")},
        )
        def find_toy2030(root: Path, *, strict: bool = False) -> Source: ...
        ```
    """

    def registered(find: Find) -> Find:
        dataset = PublicDataset(name, title, summary, source, find, options or {}, usual_id)
        if name in _registered:
            raise ValueError(f"the data set {name} is registered already.")
        described, taken = set(dataset.options), {keyword.name for keyword in dataset.keywords}
        if described != taken:
            raise TypeError(
                f"the options of {name} describe {sorted(described)}, but its keywords are {sorted(taken)}."
            )
        _registered[name] = dataset
        return find

    return registered


def public_datasets() -> dict[str, PublicDataset]:
    """Every data set by name, in alphabetical order.

    Example:
        >>> public_datasets()["brats2024"].title
        'BraTS 2024'
    """
    package = import_module(__package__)
    for module in iter_modules(package.__path__):
        if not module.ispkg:  # the folders hold what all data sets share
            import_module(f"{package.__name__}.{module.name}")
    return dict(sorted(_registered.items()))
