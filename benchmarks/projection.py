"""What DCD's loss costs, forward and backward with φ, next to plain feature matching and to other ways to write it.

    python benchmarks/projection.py                 # the six stages of the BraTS networks
    python benchmarks/projection.py --quick         # small stages, seconds
    python benchmarks/projection.py --full          # ptwt at every stage too: more than a minute per call at the first
    python benchmarks/projection.py --counts        # what a GPU would be asked for, batch 2; needs none
    python benchmarks/projection.py --counts --half # the same with features in float16, as under nnU-Net's autocast
    python benchmarks/projection.py --device cuda --batch 2

Times are medians of interleaved runs, so that a busy machine slows all variants alike; ratios are medians of the
ratios within a round. Memory is what one call adds to the resident set at its peak, each in a process of its own that
has already run the variant on a small volume (Linux only); on CUDA, what it adds to the tensors there.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import re
import statistics
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn
from torch.nn.functional import mse_loss

from nndistill.analysis.operation_counts import count_operations
from nndistill.methods import DCD, Activations, Feature
from nndistill.methods.base import StagewiseMethod
from nndistill.wavelets import wavedec3, waverec3
from on_device import described, megabytes_on_cuda, seconds

REDUCTION = 4
BRATS = [(32, 128, 160, 112), (64, 64, 80, 56), (128, 32, 40, 28), (256, 16, 20, 14), (320, 8, 10, 7), (320, 4, 5, 7)]
QUICK = [(32, 32, 40, 28), (64, 16, 20, 14), (128, 8, 10, 7)]
LARGEST_FOR_PTWT = 5_000_000  # elements: above, only with --full


@dataclass
class Measurement:
    """One variant at one stage."""

    stage: str
    variant: str
    milliseconds: float
    times_feature: float
    megabytes: float | None


class Plain(StagewiseMethod):
    """Eq. 7 literally: transform both, zero the other bands, transform back, compare."""

    def __init__(self, student_channels: list[int], teacher_channels: list[int], project: Callable[[Tensor], Tensor]):
        super().__init__(student_channels, teacher_channels)
        self.project = project

    def stage_loss(self, student: Tensor, teacher: Tensor) -> Tensor:
        return mse_loss(self.project(student), self.project(teacher))


def project_with_nndistill(x: Tensor) -> Tensor:
    approximation, *details = wavedec3(x, "db4", mode="symmetric", level=3)
    kept = [{key: band for key, band in finer.items() if key != "ddd"} for finer in details]
    return waverec3([torch.zeros_like(approximation), *kept], "db4", shape=x.shape[-3:])


def project_with_ptwt(x: Tensor) -> Tensor:
    import ptwt

    approximation, *details = ptwt.wavedec3(x, "db4", mode="symmetric", level=3)
    for finer in details:
        finer["ddd"] = torch.zeros_like(finer["ddd"])
    depth, height, width = x.shape[-3:]
    return ptwt.waverec3((torch.zeros_like(approximation), *details), "db4")[..., :depth, :height, :width]


VARIANTS: dict[str, Callable[[list[int], list[int]], nn.Module]] = {
    "feature": Feature,
    "dcd symmetric": DCD,
    "dcd periodization": lambda s, t: DCD(s, t, mode="periodization"),
    "dcd symmetric, loss_every=8": lambda s, t: DCD(s, t, loss_every=8),
    "dcd periodization, loss_every=8": lambda s, t: DCD(s, t, mode="periodization", loss_every=8),
    "dcd symmetric, kernels=triton": lambda s, t: DCD(s, t, kernels="triton"),
    "dcd periodization, kernels=triton": lambda s, t: DCD(s, t, mode="periodization", kernels="triton"),
    "plain": lambda s, t: Plain(s, t, project_with_nndistill),
    "ptwt": lambda s, t: Plain(s, t, project_with_ptwt),
}


COUNTED = [name for name in VARIANTS if name not in {"plain", "ptwt"}]
ON_CUDA_ONLY = [name for name in VARIANTS if "triton" in name]
BATCH = 2
CPU = torch.device("cpu")


def build(variant: str, channels: int, *shape: int, batch: int = 1, device: torch.device = CPU) -> Callable[[], None]:
    """A call that does one forward and backward."""
    method = VARIANTS[variant]([channels // REDUCTION], [channels]).to(device)
    student = torch.randn(batch, channels // REDUCTION, *shape, device=device, requires_grad=True)
    teacher = torch.randn(batch, channels, *shape, device=device)

    def call() -> None:
        method.zero_grad()
        student.grad = None
        method(Activations([student]), Activations([teacher])).backward()

    return call


def measure_stage(
    stage: tuple[int, ...], *, rounds: int, full: bool, memory: bool, batch: int, device: torch.device
) -> list[Measurement]:
    elements = torch.Size(stage).numel()
    with_ptwt = (full or elements <= LARGEST_FOR_PTWT) and importlib.util.find_spec("ptwt") is not None
    left_out = ([] if with_ptwt else ["ptwt"]) + ([] if device.type == "cuda" else ON_CUDA_ONLY)
    measured = [name for name in VARIANTS if name not in left_out]
    calls = {name: build(name, *stage, batch=batch, device=device) for name in measured}
    times: dict[str, list[float]] = {name: [] for name in calls}
    slow = {"plain", "ptwt"}
    for name, call in calls.items():
        if not (name in slow and elements > LARGEST_FOR_PTWT):
            call()
    rounds = max(rounds, min(25, 20_000_000 // elements))
    for turn in range(rounds):
        for name, call in calls.items():
            if name not in slow or turn < (1 if elements > LARGEST_FOR_PTWT else 3):
                times[name].append(seconds(call, device))
    return [
        Measurement(
            stage="×".join(map(str, stage)),
            variant=name,
            milliseconds=1e3 * statistics.median(taken),
            times_feature=statistics.median(t / f for t, f in zip(taken, times["feature"], strict=False)),
            megabytes=peak_memory(name, stage, batch, device) if memory else None,
        )
        for name, taken in times.items()
    ]


def peak_memory(variant: str, stage: tuple[int, ...], batch: int, device: torch.device) -> float:
    """Megabytes one call adds to the tensors on a GPU, or to the resident set of a fresh process."""
    if device.type == "cuda":
        build(variant, stage[0], 8, 8, 8, device=device)()
        return megabytes_on_cuda(build(variant, *stage, batch=batch, device=device))
    command = [sys.executable, __file__, "--batch", str(batch), "--memory-of", variant, *map(str, stage)]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()[-1])


def report_memory(variant: str, stage: list[int], batch: int) -> None:
    build(variant, stage[0], 8, 8, 8)()
    call = build(variant, *stage, batch=batch)
    Path("/proc/self/clear_refs").write_text("5")  # forget the peak so far
    before = resident("VmRSS")
    call()
    print(resident("VmHWM") - before)


def resident(field: str) -> float:
    found = re.search(rf"{field}:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert found
    return int(found[1]) / 1e3


def counts_table(dtype: torch.dtype) -> Table:
    """Operations of all stages together, forward and backward; a plain φ needs autocast for half precision."""
    view = Table("variant", title=f"all six stages, batch {BATCH}, features in {dtype}, counted on the meta device")
    for heading in ("kernels", "with views", "GFLOP", "GB read and written"):
        view.add_column(heading, justify="right")
    channels = [channels for channels, *_ in BRATS]
    for name in COUNTED if dtype == torch.float32 else [name for name in COUNTED if name.startswith("dcd")]:
        method = VARIANTS[name]([c // REDUCTION for c in channels], channels).to("meta")
        student, teacher = (
            Activations(
                [
                    torch.empty(BATCH, c // r, *shape, device="meta", dtype=dtype, requires_grad=r > 1)
                    for c, *shape in BRATS
                ]
            )
            for r in (REDUCTION, 1)
        )
        method(student, teacher)  # the first call makes the matrices
        with count_operations() as found:
            method(student, teacher).backward()
        view.add_row(
            name, str(found.kernels), str(found.operations), f"{found.flops / 1e9:.0f}", f"{found.bytes / 1e9:.1f}"
        )
    return view


def totals(measurements: list[Measurement]) -> list[Measurement]:
    """Sums over the stages, for the variants that were run at every one."""
    stages = len({m.stage for m in measurements})
    feature = sum(m.milliseconds for m in measurements if m.variant == "feature")
    sums = []
    for variant in VARIANTS:
        mine = [m for m in measurements if m.variant == variant]
        if len(mine) == stages:
            spent = sum(m.milliseconds for m in mine)
            peaks = [m.megabytes for m in mine if m.megabytes is not None]
            sums.append(Measurement("all", variant, spent, spent / feature, max(peaks, default=None)))
    return sums


def table(measurements: list[Measurement], batch: int, device: torch.device) -> Table:
    title = f"forward and backward, batch {batch}, {described(device)}"
    view = Table("stage (teacher)", "variant", title=title)
    for heading in ("ms", "× feature", "extra MB"):
        view.add_column(heading, justify="right")
    for m in measurements:
        megabytes = "" if m.megabytes is None else f"{m.megabytes:.0f}"
        view.add_row(m.stage, m.variant, f"{m.milliseconds:.1f}", f"{m.times_feature:.2f}", megabytes)
    return view


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="three small stages")
    parser.add_argument("--full", action="store_true", help="ptwt at every stage")
    parser.add_argument("--counts", action="store_true", help="operations, FLOPs and bytes instead of times")
    parser.add_argument("--half", action="store_true", help="count for features in float16")
    parser.add_argument("--rounds", type=int, default=7, help="interleaved rounds per stage (more at small ones)")
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--batch", type=int, default=1, help="samples")
    parser.add_argument("--no-memory", action="store_true", help="do not measure memory")
    parser.add_argument("--json", type=Path, help="also write the measurements to this file")
    parser.add_argument("--memory-of", nargs="+", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.memory_of:
        variant, *stage = arguments.memory_of
        report_memory(variant, [int(size) for size in stage], arguments.batch)
        return
    if arguments.counts:
        Console(width=100).print(counts_table(torch.half if arguments.half else torch.float32))
        return
    device, measurements = torch.device(arguments.device), []
    for stage in QUICK if arguments.quick else BRATS:
        measurements += measure_stage(
            stage,
            rounds=arguments.rounds,
            full=arguments.full,
            memory=not arguments.no_memory and (device.type == "cuda" or sys.platform == "linux"),
            batch=arguments.batch,
            device=device,
        )
    measurements += totals(measurements)
    Console(width=100).print(table(measurements, arguments.batch, device))
    if arguments.json:
        setup = {"device": described(device), "batch": arguments.batch, "torch": torch.__version__}
        listed = {**setup, "threads": torch.get_num_threads(), "measurements": [asdict(m) for m in measurements]}
        arguments.json.write_text(json.dumps(listed, indent=1))


if __name__ == "__main__":
    main()
