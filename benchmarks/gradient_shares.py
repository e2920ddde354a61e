"""The share of the student's gradient that each method has at its source weight, on networks of the demo's size.

    python benchmarks/gradient_shares.py                     # every method, and variants that compare something else
    python benchmarks/gradient_shares.py --only dcd cwd      # these

A teacher is trained on patches of a phantom for some batches, a student on the labels alone, both with nnU-Net's loss.
Then the gradients of the segmentation and of the distillation for the student's parameters are measured as a training
measures them: on the untrained student and on the trained one, each the mean over the same few batches. φ is as new.
"""

from __future__ import annotations

import argparse
import copy
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from dynamic_network_architectures.architectures.unet import ResidualEncoderUNet
from nnunetv2.training.loss.compound_losses import DC_and_CE_loss
from nnunetv2.training.loss.deep_supervision import DeepSupervisionWrapper
from nnunetv2.training.loss.dice import MemoryEfficientSoftDiceLoss
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn

from nndistill import Distiller
from nndistill.datasets.phantom.case import phantom_case
from nndistill.demo import DemoSize
from nndistill.methods import METHODS, build_method
from nndistill.nnunet.plans import reduced_features
from nndistill.nnunet.training.distillation_weight import gradient_norms

SIZE = DemoSize()
TEACHER = SIZE.teacher_features
STUDENT = reduced_features(list(TEACHER), 4)
CHANNELS, CLASSES = 4, 5
SHARE = 0.5
VARIANTS: dict[str, tuple[str, dict[str, Any]]] = {
    **{name: (name, {}) for name in sorted(METHODS) if name != "none"},
    "freekd": ("freekd", {"prompt_iterations": 20}),
    "cwd, encoder": ("cwd", {"match": "encoder"}),
}

Batch = tuple[Tensor, list[Tensor]]
Loss = Callable[[Any, Any], Tensor]


@dataclass
class Measured:
    """One method at one weight."""

    method: str
    weight: float
    in_source: bool
    untrained: float
    trained: float

    @property
    def balanced(self) -> float:
        """μ at which the share on the trained student would have been `SHARE`."""
        return self.weight * SHARE / self.trained


def network(features: list[int] | tuple[int, ...]) -> nn.Module:
    stages = len(features)
    return ResidualEncoderUNet(
        input_channels=CHANNELS,
        n_stages=stages,
        features_per_stage=list(features),
        conv_op=nn.Conv3d,
        kernel_sizes=3,
        strides=[1] + [2] * (stages - 1),
        n_blocks_per_stage=[1, 3, 4, 6, 6, 6][:stages],
        num_classes=CLASSES,
        n_conv_per_stage_decoder=1,
        conv_bias=True,
        norm_op=nn.InstanceNorm3d,
        norm_op_kwargs={"eps": 1e-5, "affine": True},
        nonlin=nn.LeakyReLU,
        nonlin_kwargs={"inplace": True},
        deep_supervision=True,
    )


def segmentation_loss() -> Loss:
    """nnU-Net's: Dice and cross-entropy at all but the coarsest output, halved from one to the next."""
    weights = np.array([1 / 2**stage for stage in range(len(TEACHER) - 1)])
    weights[-1] = 0
    dice = {"batch_dice": False, "smooth": 1e-5, "do_bg": False, "ddp": False}
    loss: Loss = DeepSupervisionWrapper(
        DC_and_CE_loss(dice, {}, dice_class=MemoryEfficientSoftDiceLoss), weights / weights.sum()
    )
    return loss


def batches(cases: int, seed: int) -> Iterator[Batch]:
    """Two patches each, around a voxel of the tumour in every second one; targets of all sizes."""
    images, labels = zip(
        *(phantom_case(case, shape=SIZE.shape, spacing=SIZE.spacing) for case in range(cases)), strict=True
    )
    normalised = [(i - i.mean((1, 2, 3), keepdims=True)) / i.std((1, 2, 3), keepdims=True) for i in images]
    random = np.random.default_rng(seed)

    def patch(tumour: bool) -> tuple[Tensor, Tensor]:
        case = random.integers(cases)
        voxels = np.argwhere(labels[case] > 0) if tumour else np.argwhere(labels[case] >= 0)
        centre = voxels[random.integers(len(voxels))]
        corner = [
            int(np.clip(c - p // 2, 0, s - p))
            for c, p, s in zip(centre, SIZE.patch_size, labels[case].shape, strict=True)
        ]
        window = tuple(slice(c, c + p) for c, p in zip(corner, SIZE.patch_size, strict=True))
        return torch.from_numpy(normalised[case][(slice(None), *window)]), torch.from_numpy(labels[case][window])

    while True:
        drawn = [patch(tumour) for tumour in (True, False)]
        x = torch.stack([image for image, _ in drawn]).float()
        target = torch.stack([label for _, label in drawn])[:, None].float()
        yield x, [target[..., :: 2**k, :: 2**k, :: 2**k] for k in range(len(TEACHER) - 1)]


def train(trained: nn.Module, data: Iterator[Batch], steps: int, loss: Loss, learning_rate: float) -> nn.Module:
    optimizer = torch.optim.AdamW(trained.parameters(), lr=learning_rate)
    for x, target in islice(data, steps):
        optimizer.zero_grad()
        loss(trained(x), target).backward()
        optimizer.step()
    return trained


def share(student: nn.Module, teacher: nn.Module, variant: str, data: list[Batch], loss: Loss) -> tuple[float, float]:
    """The share at μ = 1, and the weight that the method has in its source, or 1."""
    name, options = VARIANTS[variant]
    torch.manual_seed(0)
    method = build_method(name, student_channels=STUDENT, teacher_channels=TEACHER, **options)
    distiller = Distiller(student, teacher, method)
    distiller.prepare(islice(repeated(data), 10_000), loss)
    shares = []
    for x, target in data:
        output, distillation = distiller(x, target[0])
        segmentation, distilled = gradient_norms([loss(output, target), distillation], list(student.parameters()))
        shares.append(distilled / segmentation)
    return float(np.mean(shares)), 1.0 if method.source_weight is None else method.source_weight


def repeated(data: list[Batch]) -> Iterator[Batch]:
    while True:
        yield from data


def table(measured: list[Measured], steps: int) -> Table:
    view = Table("method", title=f"share of the gradient, patches of {'×'.join(map(str, SIZE.patch_size))}")
    for heading in ("μ", "untrained student", f"after {steps} batches", f"μ for a share of {SHARE:g}"):
        view.add_column(heading, justify="right")
    for m in measured:
        weight = f"{m.weight:g}" if m.in_source else f"{m.weight:g} (none in its source)"
        view.add_row(m.method, weight, f"{m.untrained:.2g}", f"{m.trained:.2g}", f"{m.balanced:.2g}")
    return view


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=list(VARIANTS), help="only these methods")
    parser.add_argument("--teacher-steps", type=int, default=120, help="batches that the teacher is trained on")
    parser.add_argument("--student-steps", type=int, default=60, help="batches that the student is trained on")
    parser.add_argument("--measured", type=int, default=4, help="batches that are measured")
    parser.add_argument("--cases", type=int, default=4, help="heads of the phantom")
    parser.add_argument("--json", type=Path, help="also write the measurements to this file")
    arguments = parser.parse_args()

    console, began = Console(width=100), time.monotonic()
    torch.manual_seed(0)
    loss = segmentation_loss()
    data = batches(arguments.cases, seed=0)
    fixed = list(islice(data, arguments.measured))
    teacher = train(network(TEACHER), data, arguments.teacher_steps, loss, SIZE.teacher_learning_rate)
    untrained = network(STUDENT)
    trained = train(copy.deepcopy(untrained), data, arguments.student_steps, loss, SIZE.student_learning_rate)
    console.print(f"teacher and student trained in {time.monotonic() - began:.0f} s", highlight=False)
    measured = []
    for variant in arguments.only or VARIANTS:
        in_source = METHODS[VARIANTS[variant][0]].source_weight is not None
        (first, weight), (second, _) = (
            share(copy.deepcopy(student), copy.deepcopy(teacher), variant, fixed, loss)
            for student in (untrained, trained)
        )
        measured.append(Measured(variant, weight, in_source, weight * first, weight * second))
        console.print(f"{variant}: {weight * first:.2g}, {weight * second:.2g}", highlight=False)
    console.print(table(measured, arguments.student_steps))
    if arguments.json:
        arguments.json.write_text(json.dumps([asdict(m) for m in measured], indent=1) + "\n")


if __name__ == "__main__":
    main()
