"""Discrete wavelets in three dimensions: the pyramid, its inverse, and the projection onto subbands."""

from .projection import SubbandProjection
from .transform import wavedec3, waverec3

__all__ = ["SubbandProjection", "wavedec3", "waverec3"]
