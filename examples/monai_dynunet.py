"""Distil a MONAI network, without nnU-Net: a DynUNet teaches one a quarter as wide to find tumours in a phantom.

    python examples/monai_dynunet.py

needs `pip install nndistill[examples]` and takes a minute or two on two CPU cores. What to look at is how little there
is to it: `Distiller` wraps the two networks, the taps are module paths, and the rest is an ordinary training loop.
"""

from __future__ import annotations

import argparse

import numpy as np
import torch
from monai.losses import DiceCELoss
from monai.metrics import DiceMetric
from monai.networks.nets import DynUNet
from monai.networks.utils import one_hot
from monai.transforms import RandCropByPosNegLabel
from torch import Tensor, nn

from nndistill import Distiller
from nndistill.datasets import phantom_case
from nndistill.methods import DCD

SHAPE, SPACING, PATCH = (48, 56, 48), (3.0, 3.0, 3.0), (32, 32, 32)
CLASSES = 5
TEACHER_CHANNELS, STUDENT_CHANNELS = [16, 32, 64], [4, 8, 16]
STAGES = ["input_block", "downsamples.0", "bottleneck"]  # the encoder of a DynUNet, fine to coarse


def build(channels: list[int]) -> DynUNet:
    return DynUNet(
        spatial_dims=3,
        in_channels=4,
        out_channels=CLASSES,
        kernel_size=[3] * len(channels),
        strides=[1] + [2] * (len(channels) - 1),
        upsample_kernel_size=[2] * (len(channels) - 1),
        filters=channels,
        res_block=True,
    )


def load(cases: range) -> list[tuple[Tensor, Tensor]]:
    """Phantom cases: image `(4, D, H, W)`, each channel with zero mean and unit variance; label `(1, D, H, W)`."""
    loaded = []
    for seed in cases:
        images, labels = phantom_case(seed, shape=SHAPE, spacing=SPACING)
        mean, deviation = images.mean((1, 2, 3), keepdims=True), images.std((1, 2, 3), keepdims=True)
        loaded.append((torch.from_numpy((images - mean) / deviation), torch.from_numpy(labels.astype(np.int64))[None]))
    return loaded


def train(network: nn.Module, step, data: list[tuple[Tensor, Tensor]], *, iterations: int) -> None:
    """Train with AdamW; `step(x, target)` gives the loss of a batch."""
    optimizer = torch.optim.AdamW(network.parameters(), lr=2e-3)
    schedule = torch.optim.lr_scheduler.PolynomialLR(optimizer, iterations, power=0.9)
    network.train()
    for iteration in range(iterations):
        image, label = data[iteration % len(data)]
        crop = RandCropByPosNegLabel(PATCH, label=label, pos=2, neg=1, num_samples=2)
        images, labels = torch.stack(crop(image, randomize=True)), torch.stack(crop(label, randomize=False))
        loss = step(images, labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        if (iteration + 1) % 50 == 0:
            print(f"  iteration {iteration + 1}/{iterations}: loss {loss.item():.3f}", flush=True)


@torch.no_grad()
def mean_dice(network: nn.Module, data: list[tuple[Tensor, Tensor]]) -> float:
    metric = DiceMetric(include_background=False)
    network.eval()
    for image, label in data:
        prediction = network(image[None]).argmax(1, keepdim=True)
        metric(one_hot(prediction, CLASSES), one_hot(label[None], CLASSES))
    return metric.aggregate().item()


def main(iterations: int) -> dict[str, float]:
    torch.manual_seed(0)
    np.random.seed(0)
    criterion = DiceCELoss(to_onehot_y=True, softmax=True)
    training, held_out = load(range(8)), load(range(100, 104))
    dice = {}

    print("teacher")
    teacher = build(TEACHER_CHANNELS)
    train(teacher, lambda x, y: criterion(teacher(x), y), training, iterations=iterations)
    dice["teacher"] = mean_dice(teacher, held_out)

    print("student alone")
    alone = build(STUDENT_CHANNELS)
    train(alone, lambda x, y: criterion(alone(x), y), training, iterations=iterations)
    dice["student alone"] = mean_dice(alone, held_out)

    print("student with DCD")
    student = build(STUDENT_CHANNELS)
    distiller = Distiller(
        student, teacher, DCD(STUDENT_CHANNELS, TEACHER_CHANNELS), student_taps=STAGES, teacher_taps=STAGES
    )

    def distil(x: Tensor, y: Tensor) -> Tensor:
        output, distillation = distiller(x, y)
        return criterion(output, y) + 0.05 * distillation

    train(distiller, distil, training, iterations=iterations)
    dice["student with DCD"] = mean_dice(student, held_out)

    for name, value in dice.items():
        print(f"{name}: mean Dice on {len(held_out)} held-out phantoms {value:.3f}")
    return dice


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--iterations", type=int, default=150)
    main(parser.parse_args().iterations)
