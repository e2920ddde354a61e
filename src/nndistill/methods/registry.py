"""Methods by name, for the command line, recipes and plans files."""

from __future__ import annotations

import inspect
import logging
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib.metadata import EntryPoint
from typing import Any, Literal, TypeVar, get_args, get_origin, get_type_hints

from pydantic import TypeAdapter, ValidationError

from ..errors import UnknownName, UserError
from ..validation import explain
from .base import Method, StagewiseMethod
from .combination import Combination
from .names import REGISTERED, installed_methods, method_names, package_of, shipped_methods

logger = logging.getLogger(__name__)

_M = TypeVar("_M", bound=type[Method])
_FACTS = ("student_channels", "teacher_channels", "classes", "ignores", "ndim")
"""Parameters of a constructor that are no options: what is known of the networks and the targets."""


def register(method: _M) -> _M:
    """Make a method known by its `name`: a class decorator.

    In a file of the folder `nndistill/methods` and in a script, the decorator is enough. A package of your own also
    names the class in the entry-point group `nndistill.methods`.

    Args:
        method: A subclass of `Method` that declares `name` and `title`. The keyword-only parameters of its constructor
            are its options; but parameters that are called `student_channels`, `teacher_channels`, `classes`,
            `ignores` or `ndim` are given the arguments of these names of `build_method`.

    Raises:
        TypeError: The declaration is not complete.
        UserError: Another method has this name.

    Example:
        >>> from nndistill.methods import StagewiseMethod, build_method
        >>> from torch.nn.functional import l1_loss
        >>> @register
        ... class AbsoluteDifference(StagewiseMethod):
        ...     name = "absolute"
        ...     title = "Absolute difference"
        ...
        ...     def stage_loss(self, student, teacher):
        ...         return l1_loss(student, teacher)
        >>> build_method("absolute", student_channels=[8], teacher_channels=[32]).title
        'Absolute difference'
    """
    _check_declaration(method)
    place, name = _place(method), method.name
    shipped = shipped_methods().get(name)
    known = shipped.value if shipped else _place(REGISTERED[name]) if name in REGISTERED else place
    if known != place:
        raise UserError(f"{place} cannot be registered as {name!r}: {known} has this name. Give yours another name.")
    REGISTERED[name] = method
    return method


class _Methods(Mapping[str, type[Method]]):
    """All methods by name. Each is imported when it is asked for, so that a broken one does not stop the others."""

    def __getitem__(self, name: str) -> type[Method]:
        if name not in REGISTERED:
            shipped = shipped_methods().get(name)
            return shipped.load() if shipped else _load(installed_methods()[name])  # type: ignore[no-any-return]
        return REGISTERED[name]

    def __iter__(self) -> Iterator[str]:
        return iter(method_names())

    def __len__(self) -> int:
        return len(method_names())

    def __contains__(self, name: object) -> bool:
        return name in method_names()


METHODS: Mapping[str, type[Method]] = _Methods()
"""Every method by its name: nnDistill's own, those of installed packages, and those registered in this process."""


def build_method(
    name: str,
    *,
    student_channels: Sequence[int],
    teacher_channels: Sequence[int],
    classes: int | None = None,
    ignores: bool | None = None,
    ndim: int = 3,
    **options: Any,
) -> Method:
    """Build a distillation method for two networks.

    Args:
        name: One of `METHODS`, or several joined with `+`, such as `dcd+logits`: a `Combination`.
        student_channels: Channels of each student encoder stage, fine to coarse.
        teacher_channels: Channels of each teacher encoder stage, fine to coarse.
        classes: Number of classes in the targets, the background included. With this and `ignores` no step has to wait
            for a GPU; default: a method that needs to know looks into every target.
        ignores: Whether targets may leave voxels out; default: the same.
        ndim: Number of dimensions of the networks.
        **options: The method's own keyword options, such as `bands="D"` for `dcd`; for a combination, `weights`, and
            the parts' own options preceded by the part's name, such as `**{"dcd.bands": "D"}`.

    Raises:
        UnknownName: No method, or no option of that method, has this name.
        UserError: An option's value is not possible, a combination names a method twice, the package that offers the
            method is broken, or a method whose constructor does not take `ndim` has a φ of three dimensions.
        StageMismatch: The networks have different numbers of stages.

    Example:
        >>> from nndistill.methods import build_method
        >>> method = build_method("dcd", student_channels=[8, 16], teacher_channels=[32, 64], bands="A+D")
        >>> sorted(method.needs)
        ['encoder']
    """
    known = option_names(name)
    for option in options:
        if option not in known:
            raise UnknownName(f"option of method {name!r}", option, known, option="option")
    facts = dict(zip(_FACTS, (student_channels, teacher_channels, classes, ignores, ndim), strict=True))
    parts = _parts(name)
    if len(parts) == 1:
        method = METHODS[name]
        _refuse_wrong_types(name, options)
        asked = inspect.signature(method.__init__).parameters
        if ndim != 3 and issubclass(method, StagewiseMethod) and "ndim" not in asked:
            raise UserError(
                f"the method {name!r} is made for three dimensions alone, and these networks have {ndim}: its φ is a "
                "convolution of three.",
                option="method",
            )
        build: Callable[..., Method] = method
        return build(**{key: value for key, value in facts.items() if key in asked}, **options)
    return Combination(
        {part: build_method(part, **facts, **_of_part(options, part)) for part in parts},  # type: ignore[arg-type]
        weights=options.get("weights"),
    )


def option_names(name: str) -> set[str]:
    """Names of the options that `build_method` takes for a method.

    Raises:
        UnknownName: No method has this name.
        UserError: A combination names a method twice, or the package that offers the method is broken.
    """
    parts = _parts(name)
    of_parts = {part: set(_options(METHODS[part])) for part in parts}
    if len(parts) == 1:
        return of_parts[name]
    return {"weights"} | {f"{part}.{option}" for part, options in of_parts.items() for option in options}


def default_options(name: str) -> dict[str, Any]:
    """Return a method's options with their defaults; none for a combination or a method that is not available here."""
    method = find_method(name)
    return {} if method is None else {key: option.default for key, option in _options(method).items()}


def title_of(name: str) -> str:
    """Return the heading of a method or a combination; a method that is not available here keeps its name."""
    methods = {part: find_method(part) for part in name.split("+")}
    return " + ".join(part if method is None else method.title for part, method in methods.items())


def find_method(name: str) -> type[Method] | None:
    """Return a method, or `None` if there is none of this name, or, with a warning, if its package is broken."""
    try:
        return METHODS.get(name)
    except UserError as error:
        logger.warning("%s", error)
        return None


def _load(entry: EntryPoint) -> type[Method]:
    """Import what another package offers.

    Raises:
        UserError: It cannot be imported or is not a complete method.
    """
    try:
        method = entry.load()
        if not (isinstance(method, type) and issubclass(method, Method)):
            raise TypeError("it is not a subclass of nndistill.methods.Method")
        if method.name != entry.name:
            raise TypeError(f"the class calls itself {method.name!r}")
        return register(method)
    except Exception as error:
        reason = (str(error).splitlines() or [""])[0]
        raise UserError(
            f"the method {entry.name!r} of the installed package {package_of(entry)} cannot be used: {entry.value} "
            f"does not load ({type(error).__name__}: {reason}). Update or remove that package.",
            option="method",
        ) from error


def _check_declaration(method: type[Method]) -> None:
    if not re.fullmatch("[a-z][a-z0-9-]*", method.name):
        raise TypeError(f"{_place(method)} needs a name of small letters, digits and hyphens, not {method.name!r}")
    if not method.title:
        raise TypeError(f"{_place(method)} needs a title")
    required = [key for key, option in _options(method).items() if option.default is option.empty]
    if required:
        raise TypeError(f"{_place(method)} needs a default for {', '.join(required)}, to be built by its name alone")


def _place(method: type[Method]) -> str:
    return f"{method.__module__}:{method.__qualname__}"


def _options(method: type[Method]) -> dict[str, inspect.Parameter]:
    parameters = inspect.signature(method.__init__).parameters
    return {key: p for key, p in parameters.items() if p.kind is p.KEYWORD_ONLY and key not in _FACTS}


def _parts(name: str) -> list[str]:
    parts = name.split("+")
    for part in parts:
        if part not in METHODS:
            raise UnknownName("method", part, METHODS, option="method")
        if parts.count(part) > 1:
            raise UserError(
                f"method {name!r} names {part} more than once; name it once and give it a weight.", option="method"
            )
    return parts


def _refuse_wrong_types(name: str, options: Mapping[str, Any]) -> None:
    """Options come from a command line or a file, where no type checker has seen them."""
    hints = get_type_hints(METHODS[name].__init__)
    for option, value in options.items():
        try:
            TypeAdapter(hints[option]).validate_python(value, strict=True)
        except ValidationError as error:
            if get_origin(hints[option]) is Literal:
                raise UnknownName(
                    f"{option} of method {name!r}", str(value), get_args(hints[option]), option="option"
                ) from error
            sentence = explain(error, hints[option], value).sentence
            raise UserError(f"option {option} of method {name!r}: {sentence}", option="option") from error


def _of_part(options: Mapping[str, Any], part: str) -> dict[str, Any]:
    prefix = f"{part}."
    return {key.removeprefix(prefix): value for key, value in options.items() if key.startswith(prefix)}
