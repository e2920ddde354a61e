"""Data sets in nnU-Net's raw format: a phantom, and public challenges as they are downloaded."""

from .decathlon import prepare_decathlon
from .phantom import generate_phantom, phantom_case

__all__ = ["generate_phantom", "phantom_case", "prepare_decathlon"]
