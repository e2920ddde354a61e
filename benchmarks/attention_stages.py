"""How much each stage counts in attention transfer, summed or averaged over positions.

    python benchmarks/attention_stages.py
    python benchmarks/attention_stages.py --patch 64 64 48 --json FILE

The encoders are those of the paper's BraTS networks, teacher and student, with random weights; the input is one patch
of random numbers. For each stage by itself, the norm of its gradient on all parameters of the student, and its share
of the sum of these norms.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from dynamic_network_architectures.building_blocks.residual_encoders import ResidualEncoder
from rich.console import Console
from rich.table import Table
from torch import nn

from nndistill.methods import Activations, AttentionTransfer

PATCH, CHANNELS, REDUCTION = (128, 160, 112), 4, 4
TEACHER = [32, 64, 128, 256, 320, 320]
STRIDES = [1, 2, 2, 2, 2, (2, 2, 1)]
BLOCKS = [1, 3, 4, 6, 6, 6]


@dataclass
class Stage:
    """What one stage contributes."""

    positions: int
    gradient: dict[str, float]


def encoder(features: list[int]) -> ResidualEncoder:
    return ResidualEncoder(
        input_channels=CHANNELS,
        n_stages=len(features),
        features_per_stage=features,
        conv_op=nn.Conv3d,
        kernel_sizes=3,
        strides=STRIDES,
        n_blocks_per_stage=BLOCKS,
        conv_bias=True,
        norm_op=nn.InstanceNorm3d,
        norm_op_kwargs={"eps": 1e-5, "affine": True},
        nonlin=nn.LeakyReLU,
        nonlin_kwargs={"inplace": True},
        return_skips=True,
    )


def stages(patch: Sequence[int]) -> list[Stage]:
    torch.manual_seed(0)
    student, teacher = encoder([width // REDUCTION for width in TEACHER]), encoder(TEACHER)
    x = torch.randn(1, CHANNELS, *patch)
    with torch.no_grad():
        of_teacher = teacher(x)
    of_student = student(x)
    parameters = list(student.parameters())
    found = []
    for s, t in zip(of_student, of_teacher, strict=True):
        gradient = {}
        for reduction in ("sum", "mean"):
            loss = AttentionTransfer([1], [1], reduction=reduction)(Activations([s]), Activations([t]))
            parts = torch.autograd.grad(loss, parameters, retain_graph=True, allow_unused=True)
            gradient[reduction] = float(nn.utils.get_total_norm([part for part in parts if part is not None]))
        found.append(Stage(s[0, 0].numel(), gradient))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--patch", type=int, nargs=3, default=PATCH, help="multiples of 32, 32 and 16")
    parser.add_argument("--json", type=Path, help="also write the numbers to this file")
    arguments = parser.parse_args()
    found = stages(arguments.patch)
    view = Table("stage", title="Share of the gradient on the student")
    for heading in ("positions", "sum", "mean"):
        view.add_column(heading, justify="right")
    for i, stage in enumerate(found, start=1):
        shares = (value / sum(one.gradient[key] for one in found) for key, value in stage.gradient.items())
        view.add_row(str(i), f"{stage.positions:,}", *(f"{100 * share:.2g} %" for share in shares))
    Console(width=100).print(view)
    if arguments.json:
        arguments.json.write_text(json.dumps([asdict(stage) for stage in found], indent=1) + "\n")


if __name__ == "__main__":
    main()
