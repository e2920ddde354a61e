"""What the methods read of the BraTS networks, at full size on the meta device: shapes and types, and no numbers."""

from __future__ import annotations

from typing import Any

import torch

from nndistill.methods import METHODS, Activations, Method, build_method

STAGES = [(32, 128, 160, 112), (64, 64, 80, 56), (128, 32, 40, 28), (256, 16, 20, 14), (320, 8, 10, 7), (320, 4, 5, 7)]
"""Channels and size of each stage of the teacher."""

REDUCTION, BATCH, CLASSES = 4, 2, 5

VARIANTS: dict[str, tuple[str, dict[str, Any]]] = {
    **{name: (name, {}) for name in METHODS},
    "dcd, periodization": ("dcd", {"mode": "periodization"}),
    "dcd, coefficients": ("dcd", {"domain": "coefficients"}),
    "dcd-release, coefficients": ("dcd-release", {"domain": "coefficients"}),
    "cwd, encoder": ("cwd", {"match": "encoder"}),
    "cirkd, encoder": ("cirkd", {"match": "encoder"}),
    "at, mean": ("at", {"reduction": "mean"}),
    "logits, regions": ("logits", {"regions": True}),
    "dist, regions": ("dist", {"regions": True}),
    "emkd, regions": ("emkd", {"regions": True}),
    "reco-kd, trained φ": ("reco-kd", {"train_phi": True}),
    "dcd+logits": ("dcd+logits", {}),
}
"""Every method, and every option that changes what is computed: name and options."""


def built(variant: str, *, ignores: bool = False) -> Method:
    """The method with what nnU-Net's trainer tells it, on the meta device."""
    name, options = VARIANTS[variant]
    channels = [stage[0] for stage in STAGES]
    return build_method(
        name,
        student_channels=[c // REDUCTION for c in channels],
        teacher_channels=channels,
        classes=CLASSES,
        ignores=ignores,
        **options,
    ).to("meta")


def activations(reduction: int, *, gradient: bool = False) -> Activations:
    stages = [
        torch.empty(BATCH, channels // reduction, *size, device="meta", requires_grad=gradient)
        for channels, *size in STAGES
    ]
    logits = torch.empty(BATCH, CLASSES, *STAGES[0][1:], device="meta", requires_grad=gradient)
    return Activations(stages, [stage.detach().requires_grad_(gradient) for stage in stages[:-1]], logits)


def target(channels: int = 1) -> torch.Tensor:
    return torch.empty(BATCH, channels, *STAGES[0][1:], device="meta", dtype=torch.int16)
