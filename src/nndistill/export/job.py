"""What is exported: one or several folds of a trained nnU-Net, with all that the writer of a format needs."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from torch import nn

from ..analysis.complexity import network_complexity
from ..nnunet.models.folds import describe_folds, network_of_folds
from ..nnunet.models.model_folder import ModelFolder
from ..runtime.backends.base import Array
from ..runtime.description import ModelDescription
from ..runtime.formats import ModelFormat, Precision
from .sample_cases import SampleCases


@dataclass(frozen=True)
class ExportJob:
    """One fold or several, and how they are exported.

    Args:
        folder: The trained nnU-Net's.
        checkpoint_files: Of the folds, whose logits are averaged.
        format: How the network is stored.
        precision: The one in which the exported network computes.
        calibration: Folder of images like those that the network will see, if there are any.
    """

    folder: ModelFolder
    checkpoint_files: tuple[Path, ...]
    format: ModelFormat
    precision: Precision
    calibration: Path | None = None

    @cached_property
    def network(self) -> nn.Module:
        """The trained network in float32, which the export is compared with; writers change a copy."""
        return network_of_folds(self.folder, self.checkpoint_files)

    @property
    def folds(self) -> tuple[str, ...]:
        """Such as `("0", "1")`, or `("all",)`."""
        return tuple(file.parent.name.removeprefix("fold_") for file in self.checkpoint_files)

    @cached_property
    def description(self) -> ModelDescription:
        """What travels with the network, without files and check.

        Raises:
            NotDescribable: Only nnU-Net itself can predict with the model.
        """
        described = describe_folds(self.folder, self.checkpoint_files)
        cost = network_complexity(self.network, (1, len(described.channels), *described.patch_size))
        return described.model_copy(
            update={
                "format": self.format.name,
                "precision": self.precision,
                "parameters": cost.parameters,
                "flops_patch": cost.flops,
            }
        )

    @cached_property
    def samples(self) -> SampleCases | None:
        """The calibration cases.

        Raises:
            UserError: The folder holds no cases.
        """
        return None if self.calibration is None else SampleCases.of(self.calibration, self.description)

    @property
    def window(self) -> tuple[int, ...]:
        """Size of the network's input without the batch: (channels, *patch_size)."""
        return (len(self.description.channels), *self.description.patch_size)

    def copy_of_network(self) -> nn.Module:
        """A copy of the trained network, for a writer to change."""
        return deepcopy(self.network)

    def calibration_windows(self) -> list[Array]:
        """Windows of the calibration cases, which INT8 needs."""
        assert self.samples is not None
        return self.samples.windows(self.description)
