"""One training step of a distillation, split into student, teacher and method.

    python benchmarks/training_step.py --json step.json

The networks are those of nnU-Net's hippocampus plans (ResidualEncoderUNet, teacher features 32, 64, 128, 256, batch 2,
patch 40×56×40), the loss is nnU-Net's, the data are random. Parts are timed in turn within each round, so that a drift
of the machine's speed affects all alike; medians over the rounds are reported. The floor is what any stage-wise
distillation costs: the student's own step and the teacher's encoder.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch
from dynamic_network_architectures.architectures.unet import ResidualEncoderUNet
from nnunetv2.training.loss.compound_losses import DC_and_CE_loss
from nnunetv2.training.loss.deep_supervision import DeepSupervisionWrapper
from nnunetv2.training.loss.dice import MemoryEfficientSoftDiceLoss
from rich.console import Console
from rich.table import Table
from torch import nn

from nndistill import Distiller
from nndistill.methods import build_method

PATCH, BATCH, CHANNELS, CLASSES = (40, 56, 40), 2, 1, 3
TEACHER, STUDENT = [32, 64, 128, 256], [8, 16, 32, 64]


def network(features: list[int], *, deep_supervision: bool) -> ResidualEncoderUNet:
    return ResidualEncoderUNet(
        input_channels=CHANNELS,
        n_stages=len(features),
        features_per_stage=features,
        conv_op=nn.Conv3d,
        kernel_sizes=3,
        strides=[1] + [2] * (len(features) - 1),
        n_blocks_per_stage=[1, 3, 4, 6][: len(features)],
        num_classes=CLASSES,
        n_conv_per_stage_decoder=1,
        conv_bias=True,
        norm_op=nn.InstanceNorm3d,
        norm_op_kwargs={"eps": 1e-5, "affine": True},
        nonlin=nn.LeakyReLU,
        nonlin_kwargs={"inplace": True},
        deep_supervision=deep_supervision,
    )


def steps(device: torch.device) -> dict[str, Callable[[], None]]:
    """The parts and the wholes, each a function to time."""
    torch.manual_seed(0)
    x = torch.randn(BATCH, CHANNELS, *PATCH, device=device)
    targets = [
        torch.randint(CLASSES, (BATCH, 1, *(s >> i for s in PATCH)), device=device) for i in range(len(STUDENT) - 1)
    ]
    criterion = DeepSupervisionWrapper(
        DC_and_CE_loss(
            {"batch_dice": False, "smooth": 1e-5, "do_bg": False, "ddp": False},
            {},
            dice_class=MemoryEfficientSoftDiceLoss,
        ),
        [4 / 6, 2 / 6, 0],
    )
    teacher = network(TEACHER, deep_supervision=False).to(device)

    def whole(name: str, **options: object) -> Callable[[], None]:
        method = build_method(name, student_channels=STUDENT, teacher_channels=TEACHER, **options)
        distiller = Distiller(network(STUDENT, deep_supervision=True), teacher, method).to(device)
        optimizer = torch.optim.SGD(distiller.parameters(), 0.01, momentum=0.99, nesterov=True, weight_decay=3e-5)

        def step() -> None:
            optimizer.zero_grad(set_to_none=True)
            output, distillation = distiller(x, targets[0])
            (criterion(output, targets) + 0.05 * distillation).backward()
            nn.utils.clip_grad_norm_(distiller.parameters(), 12)
            optimizer.step()

        return step

    def teacher_encoder() -> None:
        with torch.no_grad():
            teacher.encoder(x)

    return {
        "student alone": whole("none"),
        "teacher's encoder": teacher_encoder,
        "step with feature": whole("feature"),
        "step with DCD, symmetric": whole("dcd"),
        "step with DCD, periodization": whole("dcd", mode="periodization"),
    }


def measure(functions: dict[str, Callable[[], None]], *, rounds: int, device: torch.device) -> dict[str, list[float]]:
    for function in functions.values():
        for _ in range(2):
            function()
    seconds: dict[str, list[float]] = {name: [] for name in functions}
    for _ in range(rounds):
        for name, function in functions.items():
            _wait_for(device)
            start = time.perf_counter()
            function()
            _wait_for(device)
            seconds[name].append(time.perf_counter() - start)
    return seconds


def report(seconds: dict[str, list[float]], device: torch.device) -> dict[str, object]:
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    floor = medians["student alone"] + medians["teacher's encoder"]
    table = Table(title=f"One training step, {device}, {torch.get_num_threads()} threads, median of {_rounds(seconds)}")
    for column in ("part", "seconds", "min … max", "× floor", "of it the method"):
        table.add_column(column)
    for name, median in medians.items():
        method = f"{median - floor:.3f}" if name.startswith("step") else ""
        spread = f"{min(seconds[name]):.3f} … {max(seconds[name]):.3f}"
        table.add_row(name, f"{median:.3f}", spread, f"{median / floor:.2f}", method)
    Console().print(table)
    return {
        "platform": platform.platform(),
        "processor": platform.machine(),
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
        "device": str(device),
        "floor_s": floor,
        "median_s": medians,
        "seconds": seconds,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    device = torch.device(arguments.device)
    result = report(measure(steps(device), rounds=arguments.rounds, device=device), device)
    if arguments.json:
        arguments.json.write_text(json.dumps(result, indent=2) + "\n")


def _wait_for(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _rounds(seconds: dict[str, list[float]]) -> int:
    return len(next(iter(seconds.values())))


if __name__ == "__main__":
    main()
