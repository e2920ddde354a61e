"""Data sets in nnU-Net's raw format: a phantom, and public challenges as they are downloaded."""

from .brats2024 import find_brats2024
from .decathlon import find_decathlon
from .isles2022 import find_isles2022
from .phantom import generate_phantom, phantom_case
from .preparation import DamagedData, prepare
from .raw_check import check_raw_dataset

__all__ = [
    "DamagedData",
    "check_raw_dataset",
    "find_brats2024",
    "find_decathlon",
    "find_isles2022",
    "generate_phantom",
    "phantom_case",
    "prepare",
]
