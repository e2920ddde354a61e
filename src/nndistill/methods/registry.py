"""Methods by name, for the command line, recipes and plans files."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any, get_args, get_type_hints

from pydantic import TypeAdapter, ValidationError

from ..errors import UnknownName, UserError
from .attention_transfer import AttentionTransfer
from .base import Method
from .combination import Combination
from .cwd import CWD
from .dcd import DCD
from .dcd_release import DCDRelease
from .dist import DIST
from .feature import Feature
from .freekd import FreeKD
from .ifvd import IFVD
from .logits import Logits
from .none import NoDistillation

METHODS: dict[str, type[Method]] = {
    "at": AttentionTransfer,
    "cwd": CWD,
    "dcd": DCD,
    "dcd-release": DCDRelease,
    "dist": DIST,
    "feature": Feature,
    "freekd": FreeKD,
    "ifvd": IFVD,
    "logits": Logits,
    "none": NoDistillation,
}


def build_method(
    name: str, *, student_channels: Sequence[int], teacher_channels: Sequence[int], **options: Any
) -> Method:
    """Build a distillation method for two networks.

    Args:
        name: One of `METHODS`, or several joined with `+`, such as `dcd+logits`: a `Combination`.
        student_channels: Channels of each student encoder stage, fine to coarse.
        teacher_channels: Channels of each teacher encoder stage, fine to coarse.
        **options: The method's own keyword options, such as `bands="D"` for `dcd`; of a combination, `weights`, and
            the parts' own with the part's name in front, such as `**{"dcd.bands": "D"}`.

    Raises:
        UnknownName: No method, or no option of that method, has this name.
        UserError: An option's value is not possible, or a combination names a method twice.
        StageMismatch: The networks have different numbers of stages.
    """
    known = option_names(name)
    for option in options:
        if option not in known:
            raise UnknownName(f"option of method {name!r}", option, known)
    channels = {"student_channels": student_channels, "teacher_channels": teacher_channels}
    parts = _parts(name)
    if len(parts) == 1:
        _refuse_wrong_types(name, options)
        build: Callable[..., Method] = METHODS[name]
        return build(**channels, **options)
    return Combination(
        {part: build_method(part, **channels, **_of_part(options, part)) for part in parts},
        weights=options.get("weights"),
    )


def option_names(name: str) -> set[str]:
    """Names of the options that `build_method` takes for a method.

    Raises:
        UnknownName: No method has this name.
        UserError: A combination names a method twice.
    """
    parts = _parts(name)
    of_parts = {part: set(inspect.signature(METHODS[part]).parameters) - _CHANNELS for part in parts}
    if len(parts) == 1:
        return of_parts[name]
    return {"weights"} | {f"{part}.{option}" for part, options in of_parts.items() for option in options}


_CHANNELS = {"student_channels", "teacher_channels"}


def _parts(name: str) -> list[str]:
    parts = name.split("+")
    for part in parts:
        if part not in METHODS:
            raise UnknownName("method", part, METHODS)
        if parts.count(part) > 1:
            raise UserError(f"method {name!r} names {part} more than once; name it once and give it a weight.")
    return parts


def _refuse_wrong_types(name: str, options: Mapping[str, Any]) -> None:
    """Options come from a command line or a file, where no type checker has seen them."""
    hints = get_type_hints(METHODS[name].__init__)
    for option, value in options.items():
        try:
            TypeAdapter(hints[option]).validate_python(value, strict=True)
        except ValidationError as error:
            first = error.errors()[0]
            if first["type"] == "literal_error":
                raise UnknownName(f"{option} of method {name!r}", str(value), get_args(hints[option])) from error
            raise UserError(f"option {option} of method {name!r} cannot be {value!r}: {first['msg']}.") from error


def _of_part(options: Mapping[str, Any], part: str) -> dict[str, Any]:
    prefix = f"{part}."
    return {key.removeprefix(prefix): value for key, value in options.items() if key.startswith(prefix)}
