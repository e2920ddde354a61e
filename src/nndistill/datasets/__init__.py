"""Data sets in nnU-Net's raw format: a phantom, and public challenges as they are downloaded.

Each module here is one public data set, except `registry`, `source` and `folders`, which they share.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .brats2024 import find_brats2024
    from .decathlon import find_decathlon
    from .isles2022 import find_isles2022
    from .phantom import generate_phantom, phantom_case
    from .preparation import DamagedData, check_raw_dataset, prepare

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

_HOLDS = {
    "DamagedData": "preparation",
    "check_raw_dataset": "preparation",
    "generate_phantom": "phantom",
    "phantom_case": "phantom",
    "prepare": "preparation",
}


def __getattr__(name: str) -> Any:
    # The command line asks for the names of the data sets; what reads images takes a second to import.
    if name in _HOLDS:
        return getattr(import_module(f"{__name__}.{_HOLDS[name]}"), name)
    if name.startswith("find_") and name in (functions := _find_functions()):
        return functions[name]
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, *_find_functions()})


def _find_functions() -> dict[str, Any]:
    from .registry import public_datasets

    return {dataset.find.__name__: dataset.find for dataset in public_datasets().values()}
