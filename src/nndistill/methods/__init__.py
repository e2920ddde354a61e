"""Distillation methods: what of the teacher the student is asked to match.

Everything here works on plain tensors; nothing knows nnU-Net. A name is imported when it is first used, so that methods
can be listed without importing PyTorch. The class of a method is found in whichever file of this folder it is
registered; its name below only tells type checkers about it.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .attention_transfer import AttentionTransfer
    from .base import Activations, Method, StagewiseMethod
    from .cirkd import CIRKD
    from .combination import Combination
    from .cwd import CWD
    from .dcd import DCD
    from .dcd_release import DCDRelease
    from .dist import DIST
    from .emkd import EMKD
    from .feature import Feature
    from .freekd import FreeKD
    from .ifvd import IFVD
    from .lessons import Lesson, Lessons
    from .logits import Logits
    from .none import NoDistillation
    from .reco_kd import ReCoKD
    from .registry import METHODS, build_method, option_names, register
    from .several_teachers import SeveralTeachers, for_several_teachers
    from .teacher_task import TeacherTask

__all__ = [
    "CIRKD",
    "CWD",
    "DCD",
    "DIST",
    "EMKD",
    "IFVD",
    "METHODS",
    "Activations",
    "AttentionTransfer",
    "Combination",
    "DCDRelease",
    "Feature",
    "FreeKD",
    "Lesson",
    "Lessons",
    "Logits",
    "Method",
    "NoDistillation",
    "ReCoKD",
    "SeveralTeachers",
    "StagewiseMethod",
    "TeacherTask",
    "build_method",
    "for_several_teachers",
    "option_names",
    "register",
]

_MODULES = {
    "Activations": "base",
    "Combination": "combination",
    "Lesson": "lessons",
    "Lessons": "lessons",
    "METHODS": "registry",
    "Method": "base",
    "SeveralTeachers": "several_teachers",
    "StagewiseMethod": "base",
    "TeacherTask": "teacher_task",
    "build_method": "registry",
    "for_several_teachers": "several_teachers",
    "option_names": "registry",
    "register": "registry",
}


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
    if not name.startswith("_"):
        from .names import shipped_methods

        for entry in shipped_methods().values():
            if entry.attr == name:
                return entry.load()
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
