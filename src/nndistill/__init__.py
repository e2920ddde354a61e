"""nnDistill: distil a trained 3D nnU-Net into a student many times smaller that keeps the fine detail."""

from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from .moved import lead_to_moved_modules

if TYPE_CHECKING:
    from .distiller import Distiller, DistillerOutput

__all__ = ["Distiller", "DistillerOutput"]
__version__ = version("nndistill")

lead_to_moved_modules()


def __getattr__(name: str) -> Any:
    # Importing PyTorch takes seconds; `nndistill --help` and the processes that make phantoms do without.
    if name in __all__:
        from . import distiller

        return getattr(distiller, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
