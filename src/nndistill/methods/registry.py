"""Methods by name, for the command line, recipes and plans files."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any

from ..errors import UnknownName
from .base import Method
from .dcd import DCD
from .dcd_release import DCDRelease
from .feature import Feature
from .freekd import FreeKD
from .none import NoDistillation

METHODS: dict[str, type[Method]] = {
    "dcd": DCD,
    "dcd-release": DCDRelease,
    "feature": Feature,
    "freekd": FreeKD,
    "none": NoDistillation,
}


def build_method(
    name: str, *, student_channels: Sequence[int], teacher_channels: Sequence[int], **options: Any
) -> Method:
    """Build a distillation method for two networks.

    Args:
        name: One of `METHODS`.
        student_channels: Channels of each student encoder stage, fine to coarse.
        teacher_channels: Channels of each teacher encoder stage, fine to coarse.
        **options: The method's own keyword options, such as `bands="D"` for `dcd`.

    Raises:
        UnknownName: No method, or no option of that method, has this name.
        StageMismatch: The networks have different numbers of stages.
    """
    method = method_class(name)
    known = set(inspect.signature(method).parameters) - {"student_channels", "teacher_channels"}
    for option in options:
        if option not in known:
            raise UnknownName(f"option of method {name!r}", option, known)
    build: Callable[..., Method] = method
    return build(student_channels, teacher_channels, **options)


def method_class(name: str) -> type[Method]:
    """Return the class of a method, without building it.

    Raises:
        UnknownName: No method has this name.
    """
    if name not in METHODS:
        raise UnknownName("method", name, METHODS)
    return METHODS[name]
