"""nnDistill: distil a trained 3D nnU-Net into a student many times smaller that keeps the fine detail."""

from importlib.metadata import version

from .distiller import Distiller

__all__ = ["Distiller"]
__version__ = version("nndistill")
