"""From a download to nnU-Net's raw format: check, place, split, report."""

from .prepare import DamagedData, prepare

__all__ = ["DamagedData", "prepare"]
