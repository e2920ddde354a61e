"""A teacher with more stages than students need, in the tiny workspace; its weights are random."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from nndistill.nnunet.plans import build_network, derive_plans
from stock_models import write_model

FEATURES = [8, 16, 16, 24]


def write_deep_teacher(world: Any) -> Path:
    """A `ResidualEncoderUNet` of four stages, as stock nnU-Net leaves it."""
    description = json.loads((world.teacher / "dataset.json").read_text())
    planned = json.loads((world.preprocessed / "nnUNetResEncUNetPlans.json").read_text())
    plans = derive_plans(planned, "3d_fullres", features=FEATURES, name="deep")
    weights = build_network(plans, "3d_fullres", description).state_dict()
    return write_model(world.results / "nnUNetTrainer__deep__3d_fullres", plans, description, weights)
