"""From a download to nnU-Net's raw format: check, decide where each file goes, write, split, report."""

from .prepare import DamagedData, prepare
from .raw_check import check_raw_dataset

__all__ = ["DamagedData", "check_raw_dataset", "prepare"]
