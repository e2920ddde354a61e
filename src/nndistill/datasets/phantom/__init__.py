"""A seeded phantom of multi-parametric brain tumour MRI, rich in fine structure."""

from .acquisition import CHANNELS
from .case import phantom_case
from .dataset import generate_phantom
from .tumour import LABELS

__all__ = ["CHANNELS", "LABELS", "generate_phantom", "phantom_case"]
