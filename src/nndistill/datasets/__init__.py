"""Data sets in nnU-Net's raw format: a phantom, and public challenges as they are downloaded."""

from .decathlon import prepare_decathlon
from .phantom import generate_phantom, phantom_case
from .raw_check import check_raw_dataset

__all__ = ["check_raw_dataset", "generate_phantom", "phantom_case", "prepare_decathlon"]
