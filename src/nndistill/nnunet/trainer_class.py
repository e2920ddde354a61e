"""The trainer class that a checkpoint names: found by its file, and asked for its network.

nnU-Net's own search imports every trainer until one has the name, and stops at the first that cannot be imported, even
if that is another one. Here only the file that defines the class is imported.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import os
import pkgutil
import re
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
from nnunetv2.utilities.find_class_by_name import (
    recursive_find_python_class,
    temporarily_cleanup_imports_from_path,
    temporarily_extend_syspath,
)
from nnunetv2.utilities.label_handling.label_handling import determine_num_input_channels
from torch import nn

from ..errors import UserError
from ..suppress_output import suppress_output
from .configuration import Managers

_STOCK = Path(inspect.getfile(nnUNetTrainer)).parent
_PACKAGE = "nnunetv2.training.nnUNetTrainer"


def find_trainer(name: str) -> type[nnUNetTrainer]:
    """Find a trainer class among nnU-Net's and in the folders that `nnUNet_extTrainer` names.

    Args:
        name: Name of the class.

    Raises:
        UserError: There is none, it is no trainer, or its file cannot be imported; the message says why.

    Example:
        >>> find_trainer("nnUNetTrainerNoMirroring").__module__.rpartition(".")[2]
        'nnUNetTrainerNoMirroring'
    """
    if name == nnUNetTrainer.__name__:
        stock: type[nnUNetTrainer] = nnUNetTrainer
        return stock
    outside = [Path(path) for path in os.environ.get("nnUNet_extTrainer", "").split(os.pathsep) if path.strip()]
    for folder, package in [(_STOCK, f"{_PACKAGE}."), *((path, "") for path in outside)]:
        modules = [module for module in _modules(folder, package) if re.search(rf"\b{re.escape(name)}\b", module.text)]
        for module in sorted(modules, key=lambda module: not module.defines(name)):
            found = getattr(_imported(module, folder, name), name, None)
            if found is not None:
                return _as_trainer(found, name, module.file)
    for folder in outside:
        if (found := _made_in(folder, name)) is not None:
            return _as_trainer(found, name, folder)
    raise UserError(f"the model was trained by {name}, which is not installed; put its folder into nnUNet_extTrainer.")


def network_of_trainer(trainer: type[nnUNetTrainer], read: Managers, dataset_json: dict[str, Any]) -> nn.Module:
    """Let a trainer build its network, without deep supervision, with the arguments that its version of nnU-Net has.

    `build_network_architecture` took the plans, `dataset.json` and the input channels in nnU-Net 2.0 to 2.3, names of
    classes and both numbers of channels in 2.4 to 2.7, and takes the plans and both numbers since.

    Args:
        trainer: The class.
        read: The plans and their configuration.
        dataset_json: A `dataset.json`'s content, for the numbers of channels and classes.

    Raises:
        UserError: The trainer cannot build it; the message names the trainer and nnU-Net's version.
    """
    build = trainer.build_network_architecture
    configuration = read.configuration
    by_class = {
        "architecture_class_name": configuration.network_arch_class_name,
        "arch_init_kwargs": configuration.network_arch_init_kwargs,
        "arch_init_kwargs_req_import": configuration.network_arch_init_kwargs_req_import,
    }
    by_plans = {"plans_manager": read.plans, "configuration_manager": configuration}
    channels = {
        "num_input_channels": determine_num_input_channels(*read, dataset_json),
        "num_output_channels": read.plans.get_label_manager(dataset_json).num_segmentation_heads,
    }
    last = {"enable_deep_supervision": False}
    given = {**by_class, **by_plans, **channels, **last, "dataset_json": dataset_json}
    try:
        parameters = inspect.signature(build).parameters
        named = all(name in given or parameter.default is not parameter.empty for name, parameter in parameters.items())
        with suppress_output():
            if named:
                network = build(**{name: given[name] for name in parameters if name in given})
            else:  # other names, or *args: by position, as nnU-Net calls it
                first = by_plans if len(parameters) < 6 else by_class
                network = build(*first.values(), *channels.values(), **last)
    except Exception as error:
        raise UserError(
            f"{trainer.__name__} cannot build the network of {read.plans.plans_name} here ({_first_line(error)}). If "
            f"it was written for another version of nnU-Net than {version('nnunetv2')}, adapt its "
            "build_network_architecture to this one; if the plans were edited, correct them."
        ) from error
    if not isinstance(network, nn.Module):
        raise UserError(f"build_network_architecture of {trainer.__name__} returns no network but {network!r}.")
    return network


class _Module(NamedTuple):
    """A module in a folder of trainers, not imported."""

    name: str
    file: Path
    text: str

    def defines(self, name: str) -> bool:
        """Whether the class is written here, and not only imported from elsewhere."""
        try:
            nodes = ast.walk(ast.parse(self.text))
        except SyntaxError:
            return re.search(rf"^class {re.escape(name)}\b", self.text, re.MULTILINE) is not None
        return any(isinstance(node, ast.ClassDef) and node.name == name for node in nodes)


def _modules(folder: Path, package: str) -> Iterator[_Module]:
    """The modules of a folder and of its packages, in the order in which nnU-Net would import them."""
    found = list(pkgutil.iter_modules([str(folder)]))
    for _, name, is_package in found:
        file = folder / f"{name}.py"
        if not is_package and file.is_file():
            yield _Module(f"{package}{name}", file, file.read_text(encoding="utf-8", errors="replace"))
    for _, name, is_package in found:
        if is_package:
            yield from _modules(folder / name, f"{package}{name}.")


def _imported(module: _Module, folder: Path, name: str) -> Any:
    try:
        if folder == _STOCK:
            return importlib.import_module(module.name)
        # as nnU-Net does: another folder may hold other modules of the same names
        with temporarily_extend_syspath(str(folder)), temporarily_cleanup_imports_from_path(str(folder)):
            return importlib.import_module(module.name)
    except Exception as error:
        raise UserError(
            f"the model was trained by {name}, which is in {module.file}, and that file cannot be imported here "
            f"({_first_line(error)}). Install what it needs, or correct it."
        ) from error


def _made_in(folder: Path, name: str) -> Any:
    """The class in a folder whose modules do not spell it out: nnU-Net's own search, which imports them all."""
    try:
        return recursive_find_python_class(
            str(folder), name, None, base_folder=str(folder), cleanup_imports_from_base_folder=True
        )
    except Exception as error:
        raise UserError(
            f"the model was trained by {name}, which is not installed, unless it is in {folder}, where the search for "
            f"it stopped ({_first_line(error)})."
        ) from error


def _as_trainer(found: Any, name: str, file: Path) -> type[nnUNetTrainer]:
    if not isinstance(found, type) or not issubclass(found, nnUNetTrainer):
        raise UserError(f"{name} in {file} is no trainer of nnU-Net: it does not inherit from nnUNetTrainer.")
    return found


def _first_line(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}".splitlines()[0].rstrip(".:")
