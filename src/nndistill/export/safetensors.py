"""Weights as safetensors: no code in the file, read without nnU-Net's checkpoint."""

from __future__ import annotations

import shutil
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import load_model, save_model
from torch import nn

from ..errors import UserError
from ..files import read_json, write_json
from ..nnunet.models.checkpoints import read_checkpoint
from ..nnunet.models.model_folder import ModelFolder
from ..nnunet.models.stock_model import portable_plans
from ..nnunet.plans import build_network
from ..runtime.backends.base import unreadable

FILE = "model.safetensors"


def write_safetensors(folder: ModelFolder, checkpoint_file: Path, output: Path) -> list[str]:
    """Write the weights of a checkpoint, each once, beside plans and `dataset.json`, which tell the network.

    Returns:
        Names of the written files.
    """
    checkpoint = read_checkpoint(checkpoint_file)
    metadata = {"trainer": checkpoint["trainer_name"], "configuration": folder.configuration(checkpoint)}
    save_model(folder.network(checkpoint_file), str(output / FILE), metadata)
    write_json(output / "plans.json", portable_plans(folder.plans))
    write_json(output / "dataset.json", folder.dataset_json)
    shutil.copymode(output / "plans.json", output / FILE)  # safetensors lets nobody else read its file
    return [FILE, "plans.json", "dataset.json"]


def read_network(folder: Path) -> nn.Module:
    """Build the network that `write_safetensors` stored.

    Raises:
        UserError: The file is damaged, or does not belong to the plans beside it.
    """
    file = folder / FILE
    try:
        with safe_open(file, framework="pt") as content:
            metadata = content.metadata()
    except (SafetensorError, OSError) as error:
        raise unreadable(file, "safetensors", error) from error
    network = build_network(
        read_json(folder / "plans.json"),
        metadata["configuration"],
        read_json(folder / "dataset.json"),
        trainer=metadata["trainer"],
    )
    try:
        load_model(network, file)
    except RuntimeError as error:
        raise UserError(f"{file} does not fit {folder / 'plans.json'}: {error}.") from error
    return network
