"""nnU-Net's three folders: raw data, preprocessed data and results."""

from __future__ import annotations

import os
import re
from pathlib import Path

from ..errors import UserError

TRAINERS = Path(__file__).parent / "trainers"
"""The folder that `nnUNet_extTrainer` has to name for stock nnU-Net."""

_VARIABLES = ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results")


def use_workspace(workspace: Path | None) -> None:
    """Set nnU-Net's three environment variables to folders in one workspace; `None` leaves them as they are."""
    if workspace is None:
        return
    for variable in _VARIABLES:
        folder = workspace.resolve() / variable
        folder.mkdir(parents=True, exist_ok=True)
        os.environ[variable] = str(folder)


def raw_folder(workspace: Path | None = None) -> Path:
    """Return the folder of raw data sets, of a workspace or else of the environment variable.

    Raises:
        UserError: `nnUNet_raw` is not set, and no workspace was given.
    """
    return _folder("nnUNet_raw", workspace)


def preprocessed_folder(workspace: Path | None = None) -> Path:
    """Return the folder of preprocessed data sets and their plans, of a workspace or else of the environment variable.

    Raises:
        UserError: `nnUNet_preprocessed` is not set, and no workspace was given.
    """
    return _folder("nnUNet_preprocessed", workspace)


def results_folder(workspace: Path | None = None) -> Path:
    """Return the folder of trained models, of a workspace or else of the environment variable.

    Raises:
        UserError: `nnUNet_results` is not set, and no workspace was given.
    """
    return _folder("nnUNet_results", workspace)


def dataset_folder(parent: Path, name_or_id: str) -> Path:
    """Find a data set's folder by its name (`Dataset004_Hippocampus`) or number (`4`).

    Raises:
        UserError: There is no such data set, or more than one with this number, or its name is not nnU-Net's.
    """
    if name_or_id.isdigit():
        found = sorted(parent.glob(f"Dataset{int(name_or_id):03d}_*"))
    else:
        found = [parent / name_or_id] if (parent / name_or_id).is_dir() else []
    if len(found) > 1:
        raise UserError(f"data set {name_or_id} is ambiguous in {parent}: {', '.join(f.name for f in found)}.")
    if not found:
        present = ", ".join(f.name for f in sorted(parent.glob("Dataset*"))) or "none"
        raise UserError(f"there is no data set {name_or_id} in {parent} (present: {present}).")
    dataset_number(found[0].name)
    return found[0]


def dataset_number(name: str) -> int:
    """Return the number in a data set's name.

    Raises:
        UserError: The name has another form than nnU-Net's.

    Example:
        >>> dataset_number("Dataset004_Hippocampus")
        4
    """
    parts = re.fullmatch(r"Dataset([0-9]{3})_.+", name)
    if parts is None:
        raise UserError(
            f"{name!r} is not the name of a data set of nnU-Net: it has to be Dataset, three digits, _ and a name, as "
            "in Dataset004_Hippocampus."
        )
    return int(parts[1])


def _folder(variable: str, workspace: Path | None) -> Path:
    if workspace is not None:
        return workspace.resolve() / variable
    value = os.environ.get(variable)
    if not value:
        raise UserError(
            f"nnU-Net does not know its folders: the environment variable {variable} is not set. "
            "Set nnUNet_raw, nnUNet_preprocessed and nnUNet_results, or use a workspace, which sets all three.",
            option="workspace",
        )
    if value[0] in "\"'~":
        raise UserError(
            f"the environment variable {variable} is {value}: a {value[0]} at its start is part of the folder's name. "
            "Give the whole path, without quotation marks in the value and without ~, which only a shell replaces."
        )
    return Path(value)
