"""Discrete wavelets in one to three dimensions: the pyramid, its inverse, and the projection onto subbands."""

from .projection import SubbandProjection
from .transform import wavedec3, wavedecn, waverec3, waverecn

__all__ = ["SubbandProjection", "wavedec3", "wavedecn", "waverec3", "waverecn"]
