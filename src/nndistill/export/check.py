"""Does the exported network compute what PyTorch computes?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from ..errors import UserError
from ..runtime.backends.base import Array, Backend
from ..runtime.description import ModelDescription
from ..runtime.formats import Precision

BOUNDS: dict[Precision, tuple[float, float]] = {
    "float32": (1e-3, 1e-3),
    "float16": (2e-2, 1e-2),
    "bfloat16": (1e-1, 3e-2),
}
"""What is accepted at most: the difference, in units of the greatest logit, and the share of labels that differ.
A network that was translated wrongly is far beyond these. INT8 is judged by whole cases instead."""

_SEED = 0
_UNIT = frozenset({"RescaleTo01Normalization", "RGBTo01Normalization"})


@dataclass(frozen=True)
class Agreement:
    """How far two networks agree on the same windows.

    Attributes:
        input: What the windows show.
        max_difference: Greatest absolute difference of logits.
        max_logit: Greatest absolute logit of PyTorch's, to compare with.
        differing_labels: Share of voxels that get another label, or are in another region.
    """

    input: str
    max_difference: float
    max_logit: float
    differing_labels: float

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def compare_backends(
    exported: Backend, reference: Backend, windows: Sequence[Array], *, input: str, description: ModelDescription
) -> Agreement:
    """Compute windows with the exported network and with PyTorch's.

    Args:
        exported: The exported network, in the runtime that it is for.
        reference: The trained network, in PyTorch and float32.
        windows: (channels, D, H, W) each.
        input: What the windows show, for the report.
        description: The model's, for labels or regions.
    """
    differences, logits, labels = [], [], []
    for window in windows:
        expected = reference.logits(window).copy()
        found = exported.logits(window)
        differences.append(np.abs(found - expected).max())
        logits.append(np.abs(expected).max())
        labels.append((_decided(found, description) != _decided(expected, description)).any(0).mean())
    return Agreement(input, float(np.max(differences)), float(np.max(logits)), float(np.mean(labels)))


def refuse_disagreement(agreement: Agreement, precision: Precision) -> None:
    """Refuse an export that does not compute what PyTorch computes.

    Raises:
        UserError: The difference is greater than the precision explains, or not a number.
    """
    if precision not in BOUNDS:
        return
    difference, labels = BOUNDS[precision]
    # NaN compares as false
    if agreement.max_difference <= difference * agreement.max_logit and agreement.differing_labels <= labels:
        return
    raise UserError(
        f"the exported network does not compute what PyTorch computes (on {agreement.input}: logits differ by up to "
        f"{agreement.max_difference:.3g}, with PyTorch's up to {agreement.max_logit:.3g}; "
        f"{agreement.differing_labels:.2%} of labels differ), more than {precision} explains. Nothing was exported. "
        "Try float32 or another format.",
        option=("precision", "format"),
    )


def noise(description: ModelDescription, *, count: int = 2) -> list[Array]:
    """Windows of seeded noise with the mean and spread of normalised images, used if there are no images."""
    random = np.random.default_rng(_SEED)
    windows = []
    for _ in range(count):
        window = random.standard_normal((len(description.channels), *description.patch_size), np.float32)
        for values, channel in zip(window, description.channels, strict=True):
            if channel.normalization.scheme in _UNIT:
                values[:] = np.clip(0.5 + 0.25 * values, 0, 1)
        windows.append(window)
    return windows


def _decided(logits: Array, description: ModelDescription) -> Any:
    """Labels, or for every region whether a voxel is in it; the first axis is kept."""
    return logits.argmax(0)[None] if description.regions_class_order is None else logits > 0
