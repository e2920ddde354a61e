"""Seconds that a frozen teacher's encoder takes for a batch, by engine.

    python benchmarks/teacher_engine.py --json engines.json

Two teachers (ResidualEncoderUNet of four stages, features 16…128 and 32…256), patch 64×64×48, batches of one and two.
Engines take turns within each round, so that a drift of the machine's speed affects all alike; medians over the rounds
are reported, and how far the features are from PyTorch's in float32 (the largest relative norm of a stage). The input
is noise and the weights are random.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import time
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

import openvino
import torch
from dynamic_network_architectures.architectures.unet import ResidualEncoderUNet
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn

from nndistill.methods import Activations
from nndistill.runtime.machine import describe_machine, processor_name
from nndistill.teacher_engines import ChannelsLastEngine, CompiledEncoderEngine, TeacherEngine, TorchEngine
from nndistill.teacher_engines.agreement import relative_differences
from nndistill.teacher_engines.openvino import OpenVinoEngine, computes_bfloat16, convert_teacher

PATCH = (64, 64, 48)
TEACHERS = {"16…128": [16, 32, 64, 128], "32…256": [32, 64, 128, 256]}
BATCHES = (1, 2)


def network(features: list[int]) -> ResidualEncoderUNet:
    return ResidualEncoderUNet(
        input_channels=1,
        n_stages=len(features),
        features_per_stage=features,
        conv_op=nn.Conv3d,
        kernel_sizes=3,
        strides=[1] + [2] * (len(features) - 1),
        n_blocks_per_stage=[1, 3, 4, 6][: len(features)],
        num_classes=3,
        n_conv_per_stage_decoder=1,
        conv_bias=True,
        norm_op=nn.InstanceNorm3d,
        norm_op_kwargs={"eps": 1e-5, "affine": True},
        nonlin=nn.LeakyReLU,
        nonlin_kwargs={"inplace": True},
        deep_supervision=False,
    )


def engines(features: list[int], x: Tensor, *, compiled: bool, bfloat16: bool) -> dict[str, Callable[[], Activations]]:
    """Every engine that this machine has, ready to compute `x`."""
    torch.manual_seed(0)
    plain = TorchEngine.reading(network(features).eval().requires_grad_(False), {"encoder"})
    model = convert_teacher(plain, x)
    taps = plain.tapped.taps
    made: dict[str, tuple[TeacherEngine, bool]] = {
        "PyTorch float32": (plain, False),
        "PyTorch float32, channels last": (ChannelsLastEngine(plain), False),
        "OpenVINO float32": (OpenVinoEngine(model, taps), False),
    }
    if compiled:
        made["PyTorch float32, compiled"] = (CompiledEncoderEngine(plain.tapped.network), False)
    if bfloat16:
        made["PyTorch bfloat16"] = (plain, True)
        made["PyTorch bfloat16, channels last"] = (made["PyTorch float32, channels last"][0], True)
    if bfloat16 and computes_bfloat16():
        made["OpenVINO bfloat16"] = (OpenVinoEngine(model, taps, precision="bfloat16"), False)
    return {name: _computing(engine, x, autocast) for name, (engine, autocast) in made.items()}


def _computing(engine: TeacherEngine, x: Tensor, autocast: bool) -> Callable[[], Activations]:
    def compute() -> Activations:
        with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16) if autocast else nullcontext():
            return engine(x)

    return compute


def measure(
    computing: dict[str, Callable[[], Activations]], *, rounds: int, clock: Callable[[], float]
) -> dict[str, dict[str, object]]:
    plain = "PyTorch float32"
    found = {name: compute() for name, compute in computing.items()}  # the first run of an engine prepares it
    differences = {name: relative_differences(found[plain], features) for name, features in found.items()}
    del found
    seconds: dict[str, list[float]] = {name: [] for name in computing}
    for _ in range(rounds):
        for name, compute in computing.items():
            start = clock()
            compute()
            seconds[name].append(clock() - start)
    return {
        name: {"median_s": statistics.median(seconds[name]), "seconds": seconds[name], "differences": differences[name]}
        for name in computing
    }


def report(results: dict[str, dict[str, dict[str, object]]]) -> None:
    table = Table(
        title=f"A teacher's encoder, {processor_name()}, {torch.get_num_threads()} threads, seconds per batch"
    )
    names = list(next(iter(results.values())))
    for column in ("teacher, batch", *names):
        table.add_column(column)
    for case, of_engines in results.items():
        cells = []
        for name in names:
            median, values = of_engines[name]["median_s"], of_engines[name]["seconds"]
            spread = f"{min(values):.3f} … {max(values):.3f}"
            cells.append(f"{median:.3f} ({spread}), {max(of_engines[name]['differences']):.0e}")
        table.add_row(case, *cells)
    Console(width=None if os.isatty(1) else 200).print(table)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--teachers", nargs="+", choices=list(TEACHERS), default=list(TEACHERS))
    parser.add_argument("--batches", nargs="+", type=int, default=list(BATCHES))
    parser.add_argument(
        "--processor-time",
        action="store_true",
        help="seconds of this process on the processor, all threads together: other programs do not lengthen them",
    )
    parser.add_argument("--compiled", action="store_true", help="torch.compile too; takes minutes and a C++ compiler")
    parser.add_argument("--bfloat16", action="store_true", help="bfloat16 too; slow on processors without it")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    clock = time.process_time if arguments.processor_time else time.perf_counter
    results = {}
    for name in arguments.teachers:
        for batch in arguments.batches:
            x = torch.randn(batch, 1, *PATCH, generator=torch.Generator().manual_seed(0))
            made = engines(TEACHERS[name], x, compiled=arguments.compiled, bfloat16=arguments.bfloat16)
            results[f"{name}, {batch}"] = measure(made, rounds=arguments.rounds, clock=clock)
    report(results)
    if arguments.json:
        content = {
            "machine": describe_machine(),
            "versions": {"torch": torch.__version__, "openvino": openvino.__version__},
            "threads": torch.get_num_threads(),
            "patch": PATCH,
            "clock": clock.__name__,
            "results": results,
        }
        arguments.json.write_text(json.dumps(content, indent=2) + "\n")


if __name__ == "__main__":
    main()
