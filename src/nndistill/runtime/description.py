"""What an exported model needs besides its network, from NIfTI to NIfTI: a JSON file that travels with the network."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, ValidationError, model_validator

from ..errors import UserError
from ..files import digest, read_json, write_json
from ..validation import Strict, explain
from .formats import FORMATS, Precision

FILE_NAME = "nndistill.json"


def _known(format: str) -> str:
    if format not in FORMATS:
        raise ValueError(f"there is no format {format!r} (known: {', '.join(FORMATS)})")
    return format


class Normalization(Strict):
    """How nnU-Net normalises a channel.

    Attributes:
        scheme: nnU-Net's class.
        use_mask: Only voxels inside the nonzero mask are normalised; the others stay 0 (z-score only).
        mean, std, percentile_00_5, percentile_99_5: Of the training images' foreground; CT only.
    """

    scheme: Literal[
        "ZScoreNormalization",
        "CTNormalization",
        "NoNormalization",
        "RescaleTo01Normalization",
        "RGBTo01Normalization",
    ]
    use_mask: bool = False
    mean: float | None = None
    std: float | None = None
    percentile_00_5: float | None = None
    percentile_99_5: float | None = None


class Channel(Strict):
    """An input channel: its name in `dataset.json`, and how it is normalised."""

    name: str
    normalization: Normalization


class Resampling(Strict):
    """How nnU-Net's default resampling is called.

    Attributes:
        order: Spline order, 0 to 5.
        order_z: Spline order along the anisotropic axis, if that is resampled separately.
        force_separate_z: Whether it is resampled separately; `None` lets the spacings decide.
    """

    order: int
    order_z: int
    force_separate_z: bool | None = None


class ModelDescription(Strict):
    """Everything between NIfTI and NIfTI that is not the network.

    Axes are numpy's: images are read as (z, y, x); `spacing`, `patch_size` and `mirroring_axes` refer to axes after
    `transpose_forward`, as in nnU-Net's plans.

    Attributes:
        name: For people: which model and fold this is.
        format: Name of the `ModelFormat` of the network's files.
        precision: The one in which the network computes.
        files: SHA-256 of each file of the network, by name.
        channels: Input channels in the order of `_0000`, `_0001`, …
        file_ending: Of images and label maps, such as `.nii.gz`.
        reorient_to: Orientation into which images are brought when read (nnU-Net's `…WithReorient`), such as `RAS`.
        orientations: Of the training images, such as `LPS`; empty if they are not known.
        transpose_forward, transpose_backward: nnU-Net's permutations of the spatial axes.
        spacing: Voxel size in mm that the network wants; of a network of two dimensions, in a slice.
        patch_size: Voxels of a sliding window; a network of two dimensions sees a slice, the first axis, at a time.
        overlap: Share of a window that its neighbour covers too; nnU-Net's default is 0.5.
        mirroring_axes: Axes of a window, 0 to 2 or 0 to 1, that mirroring at prediction may flip.
        labels: As in `dataset.json`: values, or lists of values if regions are predicted.
        regions_class_order: Label value that each region is written as, in the network's order; `None` without regions.
        resample_data, resample_probabilities: nnU-Net's resampling before and after the network.
        parameters, flops_patch: Of the network as it was trained, for a window; FLOPs of convolutions, two per
            multiply-add.
        check: What was measured when the export was compared with PyTorch.
        versions: Of the packages that made the export.
    """

    format_version: Literal[1] = 1
    name: str
    format: Annotated[str, AfterValidator(_known)]
    precision: Precision = "float32"
    files: dict[str, str] = Field(default_factory=dict)
    channels: tuple[Channel, ...]
    file_ending: str
    reorient_to: str | None = None
    orientations: tuple[str, ...] = ()
    transpose_forward: tuple[int, int, int]
    transpose_backward: tuple[int, int, int]
    spacing: tuple[float, float, float] | tuple[float, float]
    patch_size: tuple[int, int, int] | tuple[int, int]
    overlap: float = 0.5
    mirroring_axes: tuple[int, ...] = ()
    labels: dict[str, int | list[int]]
    regions_class_order: tuple[int, ...] | None = None
    resample_data: Resampling
    resample_probabilities: Resampling
    parameters: int | None = None
    flops_patch: int | None = None
    check: dict[str, Any] = Field(default_factory=dict)
    versions: dict[str, str] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _has_as_many_axes_everywhere(self) -> ModelDescription:
        ndim = len(self.patch_size)
        if len(self.spacing) != ndim or not set(self.mirroring_axes) <= set(range(ndim)):
            raise ValueError(
                f"the patch size has {ndim} axes, the spacing {len(self.spacing)}, and mirrored are the axes "
                f"{self.mirroring_axes}, which do not belong together"
            )
        return self

    def spacing_of(self, image_spacing: Sequence[float]) -> tuple[float, float, float]:
        """Voxel size in mm at which an image is computed; a network of two dimensions leaves slices where they are.

        Args:
            image_spacing: The image's, in the network's order of axes.
        """
        height, width = self.spacing[-2:]
        return self.spacing[0] if len(self.spacing) == 3 else image_spacing[0], height, width

    @property
    def heads(self) -> int:
        """Channels of the network's output: regions, or labels with the background."""
        return len(self.regions_class_order) if self.regions_class_order is not None else len(self.predicted_labels)

    @property
    def predicted_labels(self) -> list[int]:
        """All label values with the background, without nnU-Net's `ignore`, ascending."""
        values = [value for name, value in self.labels.items() if name != "ignore"]
        return sorted({v for value in values for v in (value if isinstance(value, list) else [value])})

    @classmethod
    def read(cls, folder: Path) -> ModelDescription:
        """Read the description in a folder that `nndistill export` made, and check the network's files against it.

        Raises:
            UserError: This is not an exported model, or a file is missing or not the one that was exported.
        """
        if not (folder / FILE_NAME).is_file():
            raise UserError(
                f"{folder} is not an exported model: it has no {FILE_NAME}. Make one with nndistill export."
            )
        content = read_json(folder / FILE_NAME)
        try:
            description = cls.model_validate(content)
        except ValidationError as error:
            reason = explain(error, cls, content).sentence
            raise UserError(
                f"{folder / FILE_NAME} is not a description that this version reads: {reason} "
                "Export the model again with this version."
            ) from error
        for name, expected in description.files.items():
            if not (folder / name).is_file():
                raise UserError(f"{folder / name} is missing; copy the whole exported folder, or export again.")
            if digest(folder / name) != expected:
                raise UserError(
                    f"{folder / name} is not the file that was exported (its SHA-256 differs from {FILE_NAME}): "
                    "it is damaged or was replaced. Copy it again, or export again."
                )
        return description

    def write(self, folder: Path) -> None:
        """Write the description into an exported model's folder."""
        write_json(folder / FILE_NAME, self.model_dump(mode="json"))
