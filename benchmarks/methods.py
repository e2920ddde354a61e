"""What every method costs, forward and backward with its φ, next to plain feature matching.

    python benchmarks/methods.py                     # the activations of the BraTS networks, one patch
    python benchmarks/methods.py --scale 2           # every axis halved: an eighth of time and memory
    python benchmarks/methods.py --only dcd freekd   # these, and feature
    python benchmarks/methods.py --device cuda --batch 2

The activations are random numbers; the networks themselves are not measured. Times are medians of interleaved
runs; ratios are medians of the ratios to a run of `feature` just before, which a busy machine disturbs less. Memory is
what one call adds to the resident set at its peak, in a process of its own that has already run the method on a small
volume (Linux only); on CUDA, what it adds to the tensors there. It holds the gradients of the student's activations,
which every method must provide.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

from nndistill.methods import METHODS, Activations, build_method
from on_device import described, megabytes_on_cuda, seconds
from projection import BRATS, CPU, REDUCTION, resident

CLASSES = 5
REFERENCE = "feature"
VARIANTS: dict[str, tuple[str, dict[str, Any]]] = {
    **{name: (name, {}) for name in sorted(METHODS) if name != "none"},
    "dcd, periodization": ("dcd", {"mode": "periodization"}),
    "dcd, coefficients": ("dcd", {"domain": "coefficients"}),
    "cwd, encoder": ("cwd", {"match": "encoder"}),
    "cirkd, encoder": ("cirkd", {"match": "encoder"}),
    "reco-kd, trained φ": ("reco-kd", {"train_phi": True}),
    "dcd+logits": ("dcd+logits", {}),
}


@dataclass
class Measurement:
    """One method over all that it reads."""

    method: str
    reads: list[str]
    milliseconds: float
    times_feature: float
    megabytes: float | None


def build(variant: str, scale: int, *, batch: int = 1, device: torch.device = CPU) -> Callable[[], None]:
    """A call that does one forward and backward."""
    name, options = VARIANTS[variant]
    channels = [stage[0] for stage in BRATS]
    method = build_method(
        name,
        student_channels=[c // REDUCTION for c in channels],
        teacher_channels=channels,
        classes=CLASSES,
        ignores=False,
        **options,
    ).to(device)
    student = activations(method.needs, scale, REDUCTION, batch, device, gradient=True)
    teacher = activations(method.needs, scale, 1, batch, device, gradient=False)
    target = torch.randint(0, CLASSES, (batch, 1, *sizes(scale)[0]), device=device)

    def call() -> None:
        method.zero_grad()
        for x in [*student.encoder, *student.decoder, student.logits]:
            if x is not None:
                x.grad = None
        method(student, teacher, target).backward()

    return call


def activations(
    needs: frozenset[str], scale: int, reduction: int, batch: int, device: torch.device, *, gradient: bool
) -> Activations:
    """The parts of a BraTS network that a method reads; the decoder mirrors the encoder."""
    stages = [
        torch.randn(batch, channels // reduction, *size, device=device, requires_grad=gradient)
        for (channels, *_), size in zip(BRATS, sizes(scale), strict=True)
        if needs & {"encoder", "decoder"}
    ]
    logits = None
    if "logits" in needs:
        logits = torch.randn(batch, CLASSES, *sizes(scale)[0], device=device, requires_grad=gradient)
    return Activations(
        encoder=stages if "encoder" in needs else [],
        decoder=stages[:-1] if "decoder" in needs else [],
        logits=logits,
    )


def sizes(scale: int) -> list[tuple[int, ...]]:
    return [tuple(max(2, axis // scale) for axis in stage) for _, *stage in BRATS]


def measure(
    variants: list[str], *, scale: int, rounds: int, memory: bool, batch: int, device: torch.device
) -> list[Measurement]:
    reference = build(REFERENCE, scale, batch=batch, device=device)
    reference()
    times: dict[str, list[float]] = {name: [] for name in variants}
    ratios: dict[str, list[float]] = {name: [] for name in variants}
    for turn in range(rounds + 1):
        for name in variants:
            # built anew, so that only one method's activations exist at a time
            call = build(name, scale, batch=batch, device=device)
            if turn == 0:
                call()
                continue
            just_before = seconds(reference, device)
            times[name].append(seconds(call, device))
            ratios[name].append(times[name][-1] / just_before)
    return [
        Measurement(
            method=name,
            reads=sorted(build_needs(name)),
            milliseconds=1e3 * statistics.median(taken),
            times_feature=statistics.median(ratios[name]),
            megabytes=peak_memory(name, scale, batch, device) if memory else None,
        )
        for name, taken in times.items()
    ]


def build_needs(variant: str) -> frozenset[str]:
    name, options = VARIANTS[variant]
    return build_method(name, student_channels=[1], teacher_channels=[1], **options).needs


def peak_memory(variant: str, scale: int, batch: int, device: torch.device) -> float:
    """Megabytes one call adds to the tensors on a GPU, or to the resident set of a fresh process."""
    if device.type == "cuda":
        build(variant, 8 * scale, device=device)()
        return megabytes_on_cuda(build(variant, scale, batch=batch, device=device))
    command = [sys.executable, __file__, "--memory-of", variant, "--scale", str(scale), "--batch", str(batch)]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()[-1])


def report_memory(variant: str, scale: int, batch: int) -> None:
    build(variant, 8 * scale)()
    call = build(variant, scale, batch=batch)
    Path("/proc/self/clear_refs").write_text("5")  # forget the peak so far
    before = resident("VmRSS")
    call()
    print(resident("VmHWM") - before)


def table(measurements: list[Measurement], scale: int, batch: int, device: torch.device) -> Table:
    patch = "×".join(map(str, sizes(scale)[0]))
    title = f"forward and backward, batch {batch} of {patch}, {described(device)}"
    view = Table("method", "reads", title=title)
    for heading in ("ms", "× feature", "extra MB", "× feature"):
        view.add_column(heading, justify="right")
    reference = next(m.megabytes for m in measurements if m.method == REFERENCE)
    digits = 2 if device.type == "cuda" else 0
    for m in measurements:
        memory = ["", ""]
        if m.megabytes is not None and reference is not None:
            memory = [f"{m.megabytes:.0f}", f"{m.megabytes / reference:.2f}"]
        view.add_row(m.method, ", ".join(m.reads), f"{m.milliseconds:.{digits}f}", f"{m.times_feature:.2f}", *memory)
    return view


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scale", type=int, default=1, help="divide every axis by this")
    parser.add_argument("--only", nargs="+", choices=list(VARIANTS), help="only these methods, and feature")
    parser.add_argument("--rounds", type=int, default=5, help="interleaved rounds")
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--batch", type=int, default=1, help="samples")
    parser.add_argument("--no-memory", action="store_true", help="do not measure memory")
    parser.add_argument("--json", type=Path, help="also write the measurements to this file")
    parser.add_argument("--memory-of", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.memory_of:
        report_memory(arguments.memory_of, arguments.scale, arguments.batch)
        return
    variants = [REFERENCE, *(v for v in arguments.only or VARIANTS if v != REFERENCE)]
    device = torch.device(arguments.device)
    measurements = measure(
        variants,
        scale=arguments.scale,
        rounds=arguments.rounds,
        memory=not arguments.no_memory and (device.type == "cuda" or sys.platform == "linux"),
        batch=arguments.batch,
        device=device,
    )
    Console(width=100).print(table(measurements, arguments.scale, arguments.batch, device))
    if arguments.json:
        listed = {
            "device": described(device),
            "threads": torch.get_num_threads(),
            "batch": arguments.batch,
            "scale": arguments.scale,
            "measurements": [asdict(m) for m in measurements],
        }
        arguments.json.write_text(json.dumps(listed, indent=1) + "\n")


if __name__ == "__main__":
    main()
