"""Several folds of a trained nnU-Net as one network, whose logits are the mean of theirs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from ...errors import UserError
from ...runtime.description import ModelDescription
from ..plans import resolved_configuration
from ..run_setup import KEY
from .checkpoints import read_checkpoint
from .describe import describe
from .model_folder import ModelFolder

_ONLY_IN_TRAINING = ("batch_size", "batch_dice", "data_identifier")


class MeanOfNetworks(nn.Module):
    """The mean of what networks make of one input, in float32.

    nnU-Net predicts a volume with each fold and averages the logits. Averaging mirrorings, Gaussian weights and adding
    up windows are linear, so the mean may as well be taken of every window: the folds are one network to whatever
    exports, computes or measures it.

    Args:
        networks: At least one.

    Source:
        nnU-Net 2.8.1, `nnUNetPredictor.predict_logits_from_preprocessed_data`.

    Example:
        >>> from torch import ones
        >>> networks = [nn.Conv3d(1, 1, 1, bias=False) for _ in range(2)]
        >>> for network, weight in zip(networks, (1.0, 4.0)):
        ...     _ = nn.init.constant_(network.weight, weight)
        >>> MeanOfNetworks(networks)(ones(1, 1, 1, 1, 1)).item()
        2.5
    """

    def __init__(self, networks: Sequence[nn.Module]) -> None:
        super().__init__()
        self.networks = nn.ModuleList(networks)

    def forward(self, image: Tensor) -> Tensor:
        first, *others = self.networks
        total: Tensor = first(image).float()
        for network in others:
            total = total + network(image).float()
        return total / len(self.networks)


def checkpoints_of_folds(folder: ModelFolder, fold: str | Sequence[str] | None = None) -> tuple[Path, ...]:
    """The checkpoints of the folds that predict together.

    Args:
        folder: The trained nnU-Net's.
        fold: One fold, or several; default: the only one.

    Raises:
        UserError: A fold is named twice or has no such checkpoint as the first, the folds are of different models, or
            there are several and none is chosen.
    """
    folds = _chosen(folder, fold)
    first = folder.checkpoint_file(folds[0])
    files = (first, *(folder.checkpoint_file(each, first.name) for each in folds[1:]))
    if len(files) > 1:
        _refuse_different_models(files)
    return files


def network_of_folds(folder: ModelFolder, checkpoint_files: Sequence[Path]) -> nn.Module:
    """Build the network of one checkpoint, or the mean of several; see `ModelFolder.network`.

    Raises:
        UserError: A checkpoint cannot be read, or does not fit the plans.
    """
    networks = [folder.network(file) for file in checkpoint_files]
    return networks[0] if len(networks) == 1 else MeanOfNetworks(networks)


def describe_folds(folder: ModelFolder, checkpoint_files: Sequence[Path]) -> ModelDescription:
    """Describe folds that predict together, as `describe` does for one; the description's name lists all.

    Raises:
        NotDescribable: Only nnU-Net itself can predict with the model.
    """
    first, *others = checkpoint_files
    described = describe(folder, first)
    return described.model_copy(update={"name": ", ".join([described.name, *(file.parent.name for file in others)])})


def _chosen(folder: ModelFolder, fold: str | Sequence[str] | None) -> tuple[str, ...]:
    folds = (fold,) if isinstance(fold, str) else tuple(fold or ())
    if twice := next((each for each in folds if folds.count(each) > 1), None):
        raise UserError(f"fold {twice} is named twice; name each fold once.", option="fold")
    if not folds and len(folder.folds) > 1:
        raise UserError(
            f"{folder.path} holds the folds {', '.join(folder.folds)}; choose one of them, or several, whose logits "
            "are averaged.",
            option="fold",
        )
    return folds or (folder.only_fold(),)


def _refuse_different_models(checkpoint_files: Sequence[Path]) -> None:
    """Compare what the checkpoints say of themselves with the first one; nnU-Net takes the first one's word for all."""
    first, *others = checkpoint_files
    expected = _model_of(first)
    for file in others:
        found = _model_of(file)
        if different := [what for what in expected if found.get(what, expected[what]) != expected[what]]:
            raise UserError(
                f"{file} and {first} are not folds of one model: they were trained with different "
                f"{', '.join(different)}. Choose folds that belong together.",
                option="fold",
            )


def _model_of(checkpoint_file: Path) -> dict[str, Any]:
    """All that decides about prediction besides the weights, as the training wrote it into a checkpoint."""
    checkpoint = read_checkpoint(checkpoint_file)
    arguments: Mapping[str, Any] = checkpoint["init_args"]
    name, plans, dataset = (arguments.get(key) for key in ("configuration", "plans", "dataset_json"))
    model = {
        "trainers": checkpoint["trainer_name"],
        "configurations": name,
        "mirroring axes": tuple(checkpoint.get("inference_allowed_mirroring_axes") or ()),
    }
    if isinstance(plans, dict) and isinstance(name, str) and name in plans.get("configurations", {}):
        configuration = {k: v for k, v in resolved_configuration(plans, name).items() if k not in _ONLY_IN_TRAINING}
        model["plans"] = {k: v for k, v in plans.items() if k not in (KEY, "configurations")} | configuration
    if isinstance(dataset, dict):
        model["labels"] = (dataset.get("labels"), dataset.get("regions_class_order"))
    return model
