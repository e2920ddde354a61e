"""Settings of a prediction: together with model and runtime, all that decides about a label map besides the images."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from .loading import LoadedModel
from .probabilities import ProbabilityFormat


@dataclass(frozen=True)
class PredictionSettings:
    """See the arguments of `predict_cases`."""

    overlap: float
    mirror: bool
    skip_air: bool
    any_orientation: bool
    allow_empty_channel: bool = False
    probabilities: tuple[ProbabilityFormat, ...] = ()

    def made_with(self, model: LoadedModel) -> dict[str, Any]:
        """Model, runtime and settings, as `nndistill_prediction.json` holds them.

        The orientations of the training images are not among them: they refuse images, and a model folder of nnU-Net
        knows them only where the data set is.
        """
        description = model.description
        return {
            "model": description.model_dump(mode="json", exclude={"check", "versions", "orientations"}),
            "backend": model.backend.name,
            "precision": model.backend.precision,
            "overlap": self.overlap,
            "mirroring_axes": list(description.mirroring_axes) if self.mirror else [],
            "all_windows": not self.skip_air,
            "any_orientation": self.any_orientation,
            **({"allow_empty_channel": True} if self.allow_empty_channel else {}),
            **({"probabilities": ", ".join(self.probabilities)} if self.probabilities else {}),
        }
