"""Distillation methods: what of the teacher the student is asked to match.

Everything here works on plain tensors; nothing knows nnU-Net.
"""

from .base import Activations, Method, StagewiseMethod
from .dcd import DCD
from .dcd_release import DCDRelease
from .feature import Feature
from .freekd import FreeKD
from .none import NoDistillation
from .registry import METHODS, build_method, method_class

__all__ = [
    "DCD",
    "METHODS",
    "Activations",
    "DCDRelease",
    "Feature",
    "FreeKD",
    "Method",
    "NoDistillation",
    "StagewiseMethod",
    "build_method",
    "method_class",
]
