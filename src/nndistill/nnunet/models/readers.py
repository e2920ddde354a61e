"""Readers of the formats whose network nnU-Net builds: its own model folders, and safetensors with plans."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from torch import nn

from ...errors import UserError
from ...files import digest, read_json
from ...runtime.backends.base import unreadable
from ...runtime.description import ModelDescription
from ...runtime.formats import FORMATS
from ..plans import build_network
from .folds import MeanOfNetworks, checkpoints_of_folds, describe_folds, network_of_folds
from .model_folder import ModelFolder
from .weights import refuse_other_network


def read_trained(
    model: Path, description: ModelDescription | None, fold: str | Sequence[str] | None
) -> tuple[ModelDescription, nn.Module]:
    """Describe a trained nnU-Net and build its network, of several folds the one that averages them.

    Args:
        model: Its folder, or an export in the format `nnunet`, which holds such a folder.
        description: The export's, which is returned; `None` for the trained nnU-Net.
        fold: One or several. Default: the only one; of an export all that it holds.

    Raises:
        UserError: It is not a trained nnU-Net, has no such fold or is damaged, or nnDistill cannot predict with it.
    """
    path = model if description is None else next(model.glob("*/*/plans.json")).parent
    folder = ModelFolder.read(path)
    checkpoint_files = checkpoints_of_folds(folder, fold if description is None else folder.folds)
    if description is None:
        files = {str(file.relative_to(path)): digest(file) for file in checkpoint_files}
        description = describe_folds(folder, checkpoint_files).model_copy(update={"files": files})
    return description, network_of_folds(folder, checkpoint_files)


def read_safetensors(
    model: Path, description: ModelDescription, fold: str | Sequence[str] | None
) -> tuple[ModelDescription, nn.Module]:
    """Build the network that `export_safetensors` stored.

    Args:
        model: The export.
        description: The export's, which is returned.
        fold: `None`; an export holds its own.

    Raises:
        UserError: The file is damaged, or does not belong to the plans next to it.
    """
    from safetensors import SafetensorError, safe_open
    from safetensors.torch import load_model

    file = model / str(FORMATS["safetensors"].file)
    try:
        with safe_open(file, framework="pt") as content:
            metadata = content.metadata() or {}
            shapes = {name: content.get_slice(name).get_shape() for name in content.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise unreadable(file, "safetensors", error) from error
    if not {"configuration", "trainer"} <= metadata.keys():
        raise UserError(f"{file} does not say of which network it holds the weights; export the model again.")
    plans, dataset_json = read_json(model / "plans.json"), read_json(model / "dataset.json")
    networks = [
        build_network(plans, metadata["configuration"], dataset_json, trainer=metadata["trainer"])
        for _ in metadata.get("folds", "0").split(",")
    ]
    network = networks[0] if len(networks) == 1 else MeanOfNetworks(networks)
    try:
        load_model(network, file)
    except RuntimeError as error:
        plans_file = model / "plans.json"
        expected = {name: value.shape for name, value in network.state_dict().items() if name in shapes}  # shared: once
        refuse_other_network(expected, shapes, source=file, plans=plans_file)
        raise UserError(f"{file} does not fit {plans_file}: it lacks some of the network's weights.") from error
    return description, network
