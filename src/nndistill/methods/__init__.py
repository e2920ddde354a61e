"""Distillation methods: what of the teacher the student is asked to match.

Everything here works on plain tensors; nothing knows nnU-Net.
"""

from .attention_transfer import AttentionTransfer
from .base import Activations, Method, StagewiseMethod
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
from .registry import METHODS, build_method, option_names

__all__ = [
    "CWD",
    "DCD",
    "DIST",
    "IFVD",
    "METHODS",
    "Activations",
    "AttentionTransfer",
    "Combination",
    "DCDRelease",
    "Feature",
    "FreeKD",
    "Logits",
    "Method",
    "NoDistillation",
    "StagewiseMethod",
    "build_method",
    "option_names",
]
