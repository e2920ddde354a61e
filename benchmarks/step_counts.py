"""What a training step asks of a GPU, counted and not measured: at the size of BraTS, on the meta device.

    python benchmarks/step_counts.py --json counts.json
    python benchmarks/step_counts.py --only at dcd         # these methods, without the networks
    python benchmarks/step_counts.py --before counts.json  # a Markdown table of both
    python benchmarks/step_counts.py --estimate            # memory and time on some cards, from the counts
    python benchmarks/step_counts.py --counts counts.json --estimate    # the same, without counting again

Networks of the paper's Table 3, two patches of 128×160×112. The networks compute in half precision, as they do under
nnU-Net's autocast; the methods get float32 activations, so that their bytes are an upper bound. Per row: kernels
(operations that compute or move something, each at least one launch), floating-point operations of convolutions and
matrix products, bytes read and written (each kernel's tensors in full), the most memory that is held by what is made on
the way, and how often the host waits for a number. Methods are counted forward and backward with their φ, in their
second step; the first one also makes the wavelets' matrices.

To count another version, copy `src/nndistill/analysis/operation_counts.py` into its folder `analysis` and run this
script with its `src` in PYTHONPATH.
"""

from __future__ import annotations

import argparse
import inspect
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from dynamic_network_architectures.architectures.unet import ResidualEncoderUNet
from nnunetv2.training.loss.compound_losses import DC_and_CE_loss
from nnunetv2.training.loss.dice import MemoryEfficientSoftDiceLoss
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn

from nndistill.analysis.operation_counts import count_operations
from nndistill.methods import METHODS, Activations, build_method

PATCH, BATCH, CHANNELS, CLASSES, REDUCTION = (128, 160, 112), 2, 4, 5, 4
STRIDES = [1, 2, 2, 2, 2, (2, 2, 1)]
FEATURES = [32, 64, 128, 256, 320, 320]
SIZES = [PATCH, (64, 80, 56), (32, 40, 28), (16, 20, 14), (8, 10, 7), (4, 5, 7)]
VARIANTS: dict[str, tuple[str, dict[str, Any]]] = {
    **{name: (name, {}) for name in sorted(METHODS) if name != "none"},
    "dcd, mode=periodization": ("dcd", {"mode": "periodization"}),
    "dcd, kernels=triton": ("dcd", {"kernels": "triton"}),
    "dcd, kernels=triton, mode=periodization": ("dcd", {"kernels": "triton", "mode": "periodization"}),
    "dcd, domain=coefficients": ("dcd", {"domain": "coefficients"}),
    "cwd, match=encoder": ("cwd", {"match": "encoder"}),
    "cirkd, match=encoder": ("cirkd", {"match": "encoder"}),
    "reco-kd, train_phi=true": ("reco-kd", {"train_phi": True}),
}
LOSS = "segmentation loss"
STUDENT, ENCODER, TEACHER = "student, forward and backward", "teacher's encoder", "teacher, whole"
COLUMNS = {"kernels": 1, "flops": 1e9, "bytes": 1e9, "peak_bytes": 1e9, "syncs": 1}
HEADINGS = ["kernels", "GFLOP", "GB moved", "GB held", "syncs"]

Counted = dict[str, int]


def networks() -> Iterator[tuple[str, Counted]]:
    """The student forward and backward, its loss, and the teacher as far as methods need it."""
    x = torch.empty(BATCH, CHANNELS, *PATCH, device="meta", dtype=torch.half)
    student, teacher = (network([f // r for f in FEATURES]).half().to("meta") for r in (REDUCTION, 1))
    yield STUDENT, counted(lambda: student(x).sum().backward())
    yield LOSS, segmentation_loss()

    def in_teacher(run: Callable[[Tensor], Any]) -> Counted:
        with torch.no_grad():
            return counted(lambda: run(x))

    yield ENCODER, in_teacher(teacher.encoder)
    yield TEACHER, in_teacher(teacher)


def segmentation_loss() -> Counted:
    """nnU-Net's, on the finest output."""
    loss = DC_and_CE_loss({"do_bg": False}, {}, dice_class=MemoryEfficientSoftDiceLoss)
    logits = torch.empty(BATCH, CLASSES, *PATCH, device="meta", requires_grad=True)
    target = torch.empty(BATCH, 1, *PATCH, device="meta")
    return counted(lambda: loss(logits, target).backward())


def network(features: list[int]) -> nn.Module:
    return ResidualEncoderUNet(
        input_channels=CHANNELS,
        n_stages=len(features),
        features_per_stage=features,
        conv_op=nn.Conv3d,
        kernel_sizes=3,
        strides=STRIDES,
        n_blocks_per_stage=[1, 3, 4, 6, 6, 6],
        num_classes=CLASSES,
        n_conv_per_stage_decoder=1,
        conv_bias=True,
        norm_op=nn.InstanceNorm3d,
        norm_op_kwargs={"eps": 1e-5, "affine": True},
        nonlin=nn.LeakyReLU,
        nonlin_kwargs={"inplace": True},
        deep_supervision=False,
    )


def of_method(variant: str) -> Counted:
    name, options = VARIANTS[variant]
    known = {"classes": CLASSES, "ignores": False} if "classes" in inspect.signature(build_method).parameters else {}
    student_channels = [c // REDUCTION for c in FEATURES]
    method = build_method(name, student_channels=student_channels, teacher_channels=FEATURES, **known, **options).to(
        "meta"
    )
    student, teacher = activations(student_channels, method.needs, gradient=True), activations(FEATURES, method.needs)
    target = torch.empty(BATCH, 1, *PATCH, device="meta", dtype=torch.int16)

    def step() -> None:
        for x in [*method.parameters(), *student.encoder, *student.decoder, student.logits]:
            if x is not None:
                x.grad = None
        method(student, teacher, target).backward()

    counted(step)
    return counted(step)


def activations(channels: list[int], needs: frozenset[str], *, gradient: bool = False) -> Activations:
    def made(c: int, size: tuple[int, ...]) -> Tensor:
        return torch.empty(BATCH, c, *size, device="meta", requires_grad=gradient)

    stages = [made(c, size) for c, size in zip(channels, SIZES, strict=True)]
    return Activations(
        stages if "encoder" in needs else [],
        [made(c, size) for c, size in zip(channels[:-1], SIZES[:-1], strict=True)] if "decoder" in needs else [],
        made(CLASSES, PATCH) if "logits" in needs else None,
    )


def counted(run: Callable[[], Any]) -> Counted:
    with autocast_on_meta(), count_operations(read=of_a_target) as counts:
        run()
    return {column: getattr(counts, column) for column in COLUMNS}


def of_a_target(number: Tensor) -> bool | int:
    """What an older version reads: no voxel is left out, and the highest label."""
    return False if number.dtype == torch.bool else CLASSES - 1


@contextmanager
def autocast_on_meta() -> Iterator[None]:
    """Older versions switch autocast off on whatever device, and PyTorch has none on `meta`."""
    real = torch.autocast
    torch.autocast = lambda device, *args, **options: (
        nullcontext() if device == "meta" else real(device, *args, **options)
    )
    try:
        yield
    finally:
        torch.autocast = real


def shown(counts: dict[str, Counted]) -> Table:
    table = Table("", title=f"one step, {BATCH} patches of {'×'.join(map(str, PATCH))}, counted")
    for heading in HEADINGS:
        table.add_column(heading, justify="right")
    for name, row in counts.items():
        table.add_row(name, *numbers(row))
    return table


def numbers(row: Counted) -> list[str]:
    values = [row[column] / unit for column, unit in COLUMNS.items()]
    return [
        f"{value:,.0f}" if unit == 1 or value >= 100 else f"{value:.1f}"
        for value, unit in zip(values, COLUMNS.values(), strict=True)
    ]


def compared(before: dict[str, Counted], after: dict[str, Counted]) -> str:
    lines = ["| | " + " | ".join(HEADINGS) + " |", "|---|" + "---:|" * len(HEADINGS)]
    for name, row in after.items():
        old = numbers(before[name]) if name in before else [""] * len(HEADINGS)
        cells = [new if was in ("", new) else f"{was} → {new}" for was, new in zip(old, numbers(row), strict=True)]
        lines.append(f"| {f'`{name}`' if name in VARIANTS else name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


@dataclass(frozen=True)
class Card:
    """Published peak rates: dense float16 on tensor cores with float32 sums, float32 without, and memory bandwidth."""

    name: str
    gigabytes: int
    half: float
    single: float
    bandwidth: float


CARDS = [
    Card("GeForce RTX 3070", 8, 40.6e12, 20.3e12, 448e9),
    Card("GeForce RTX 4070 Ti", 12, 80.2e12, 40.1e12, 504e9),
    Card("GeForce RTX 4080", 16, 97.5e12, 48.7e12, 717e9),
    Card("GeForce RTX 4090", 24, 165.2e12, 82.6e12, 1008e9),
    Card("A100 40 GB (PCIe)", 40, 312e12, 19.5e12, 1555e9),
    Card("H100 (SXM)", 80, 989.4e12, 66.9e12, 3350e9),
]
OF_PEAK_FLOPS, OF_PEAK_BANDWIDTH, LAUNCH = 0.4, 0.7, 5e-6
"""What a step is expected to reach of the peaks, and seconds per kernel: assumptions."""

WEIGHTS = 12 * 6.4e6 + 4 * 102e6
"""Bytes: of the student weights, gradients and momentum; of the teacher weights; all in float32."""

LIBRARIES = 0.7e9
"""Bytes that CUDA and cuDNN take for themselves: an assumption."""


def estimated(counts: dict[str, Counted]) -> str:
    """A Markdown table: memory per method, and seconds per step on each card, the floor and what is expected."""
    lines = ["| | GB | " + " | ".join(card.name for card in CARDS) + " |", "|---|---:|" + "---:|" * len(CARDS)]
    for name in ["none", *(name for name in counts if name in VARIANTS)]:
        parts = parts_of_step(name)
        memory = WEIGHTS + LIBRARIES + sum(counts[part]["peak_bytes"] for part in parts)
        cells = [
            " … ".join(f"{milliseconds(counts, parts, card, ideal=ideal):.0f}" for ideal in (True, False))
            if memory <= card.gigabytes * 1e9
            else "–"
            for card in CARDS
        ]
        lines.append(f"| `{name}` | {memory / 1e9:.1f} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def parts_of_step(variant: str) -> list[str]:
    if variant == "none":
        return [STUDENT, LOSS]
    name, options = VARIANTS[variant]
    needs = build_method(name, student_channels=[1], teacher_channels=[1], **options).needs
    return [STUDENT, LOSS, ENCODER if needs == {"encoder"} else TEACHER, variant]


def milliseconds(counts: dict[str, Counted], parts: list[str], card: Card, *, ideal: bool) -> float:
    of_flops, of_bandwidth, launch = (1, 1, 0) if ideal else (OF_PEAK_FLOPS, OF_PEAK_BANDWIDTH, LAUNCH)
    seconds = 0.0
    for part in parts:
        row, rate = counts[part], card.single if part in VARIANTS else card.half
        seconds += max(row["flops"] / (of_flops * rate), row["bytes"] / (of_bandwidth * card.bandwidth))
        seconds += launch * row["kernels"]
    return 1e3 * seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=list(VARIANTS), help="only these methods")
    parser.add_argument("--json", type=Path, help="also write the counts to this file")
    parser.add_argument("--before", type=Path, help="counts of another version: print a Markdown table of both")
    parser.add_argument("--counts", type=Path, help="take the counts from this file instead of counting")
    parser.add_argument("--estimate", action="store_true", help="print a Markdown table of memory and time per card")
    arguments = parser.parse_args()
    if arguments.counts:
        counts = json.loads(arguments.counts.read_text())
    else:
        counts = {} if arguments.only else dict(networks())
        counts |= {name: of_method(name) for name in arguments.only or VARIANTS}
    if arguments.json:
        arguments.json.write_text(json.dumps(counts, indent=1) + "\n")
    if arguments.estimate:
        print(estimated(counts))
    elif arguments.before:
        print(compared(json.loads(arguments.before.read_text()), counts))
    else:
        Console(width=100).print(shown(counts))


if __name__ == "__main__":
    main()
