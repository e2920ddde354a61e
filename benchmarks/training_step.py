"""One training step of a distillation with DCD, piece by piece, beside the step of version 0.1.

    python benchmarks/training_step.py --json step.json
    python benchmarks/training_step.py --settings 0.1 now channels-last fused-optimiser
    python benchmarks/training_step.py --device cuda --task brats --settings now bfloat16 channels-last

The networks are those of nnU-Net's hippocampus plans (ResidualEncoderUNet, teacher features 32, 64, 128, 256, batch 2,
patch 40×56×40), or the paper's for BraTS (Table 3, batch 2, patch 128×160×112), whose batches are not augmented here;
loss and augmentation are nnU-Net's, images are random. Version 0.1 computed in float32 with glibc's
own thresholds, PyTorch's teacher, and threads of OpenMP that slept at once; `now` is what a run does on this processor.
`0.1-spinning` is version 0.1 with OpenMP's own policy, as a script of one's own would have it. Each setting has a
process of its own, because memory and threads are matters of the process; the processes take turns, so that a drift of
the machine's speed affects all alike, and medians over the rounds are reported.

The floor of a piece is the larger of two times: its FLOPs at the rate of a large matrix product, and its bytes at the
rate of a large copy, both measured here. The bytes are those of all layers' outputs, written and read once in the
forward pass and twice in the backward pass, which a chain of fused layers, such as OpenVINO's, undercuts.

On a machine that does other things, `--processor-time` with one thread (`OMP_NUM_THREADS=1`) counts the seconds that
the process computed, instead of those that went by.
"""

from __future__ import annotations

import argparse
import json
import math
import multiprocessing
import os
import random
import resource
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from functools import cache
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import torch
from dynamic_network_architectures.architectures.unet import ResidualEncoderUNet
from nnunetv2.training.data_augmentation.compute_initial_patch_size import get_patch_size
from nnunetv2.training.loss.compound_losses import DC_and_CE_loss
from nnunetv2.training.loss.deep_supervision import DeepSupervisionWrapper
from nnunetv2.training.loss.dice import MemoryEfficientSoftDiceLoss
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from nndistill.freed_memory import keep_freed_memory
from nndistill.idle_threads import idle_threads_sleep
from nndistill.methods import build_method
from nndistill.nnunet.training.precision import LossInFloat32, choose_precision, computing_in, measure_bfloat16
from nndistill.nnunet.training.recipe_trainer import nnUNetTrainerRecipe
from nndistill.nnunet.training.stock_settings import stock_settings
from nndistill.runtime.machine import describe_machine
from nndistill.taps import TappedNetwork, nnunet_taps
from nndistill.teacher_engines import TorchEngine
from nndistill.teacher_engines.choice import ChosenEngine, Wanted
from on_device import described

BATCH = 2

BATCHES = 1000
"""Of the training whose step this is; a run looks for a faster engine if it has enough batches."""

THREADS = tuple(idle_threads_sleep({}))


@dataclass(frozen=True)
class Task:
    """Patches, and the networks for them.

    Args:
        patch: Voxels of a patch.
        channels: Of an image.
        classes: Of a label map.
        teacher: The teacher's features; a quarter of them are the student's.
        last_stride: Of the last stage; the others halve every axis.
        augmented: Whether batches are augmented, as in a training.
    """

    patch: tuple[int, int, int]
    channels: int
    classes: int
    teacher: tuple[int, ...]
    last_stride: tuple[int, int, int] = (2, 2, 2)
    augmented: bool = True

    @property
    def student(self) -> tuple[int, ...]:
        return tuple(features // 4 for features in self.teacher)

    @property
    def strides(self) -> list[tuple[int, ...]]:
        return [(1, 1, 1), *[(2, 2, 2)] * (len(self.teacher) - 2), self.last_stride]

    @property
    def scales(self) -> list[list[float]]:
        """Of the targets under deep supervision, fine to coarse, without that of the coarsest stage."""
        size, scales = [1.0] * 3, []
        for stride in self.strides[:-1]:
            size = [axis / by for axis, by in zip(size, stride, strict=True)]
            scales.append(size)
        return scales

    @property
    def weights(self) -> list[float]:
        """nnU-Net's of the outputs under deep supervision: halved from each to the next, none for the last."""
        halved = [0.5**i for i in range(len(self.scales) - 1)]
        return [weight / sum(halved) for weight in halved] + [0.0]


TASKS = {
    "hippocampus": Task((40, 56, 40), 1, 3, (32, 64, 128, 256)),
    "brats": Task((128, 160, 112), 4, 5, (32, 64, 128, 256, 320, 320), (2, 2, 1), augmented=False),
}
PIECES = (
    "augmentation",
    "student, forward",
    "teacher's encoder",
    "segmentation loss",
    "projection and φ",
    "backward of student and loss",
    "optimiser",
)


@dataclass(frozen=True)
class Setting:
    """How a step is computed.

    Args:
        precision: As in a recipe.
        engine: As in `--teacher-engine`; on a GPU, PyTorch computes the teacher.
        keeps_memory: Whether glibc keeps what is freed.
        threads: Variables for OpenMP's threads.
        channels_last: Whether both networks run with channels last in memory.
        fused_optimiser: Whether the optimiser updates all weights in one kernel.
    """

    precision: str = "auto"
    engine: Wanted = "auto"
    keeps_memory: bool = True
    threads: Mapping[str, str] = field(default_factory=lambda: idle_threads_sleep({}))
    channels_last: bool = False
    fused_optimiser: bool = False


SETTINGS = {
    "0.1": Setting(precision="float32", engine="torch", keeps_memory=False, threads={"OMP_WAIT_POLICY": "PASSIVE"}),
    "0.1-spinning": Setting(precision="float32", engine="torch", keeps_memory=False, threads={}),
    "now": Setting(),
    "pytorch-teacher": Setting(engine="torch"),
    "spinning": Setting(threads={}),
    "float32": Setting(precision="float32"),
    "bfloat16": Setting(precision="bfloat16"),
    "channels-last": Setting(channels_last=True),
    "fused-optimiser": Setting(fused_optimiser=True),
}


def network(task: Task, features: Sequence[int], *, deep_supervision: bool) -> ResidualEncoderUNet:
    return ResidualEncoderUNet(
        input_channels=task.channels,
        n_stages=len(features),
        features_per_stage=list(features),
        conv_op=nn.Conv3d,
        kernel_sizes=3,
        strides=task.strides,
        n_blocks_per_stage=[1, 3, 4, 6, 6, 6][: len(features)],
        num_classes=task.classes,
        n_conv_per_stage_decoder=1,
        conv_bias=True,
        norm_op=nn.InstanceNorm3d,
        norm_op_kwargs={"eps": 1e-5, "affine": True},
        nonlin=nn.LeakyReLU,
        nonlin_kwargs={"inplace": True},
        deep_supervision=deep_supervision,
    )


class Step:
    """A training step whose pieces are timed one after the other."""

    def __init__(self, setting: Setting, task: Task, device: torch.device, clock: Callable[[], float]) -> None:
        torch.manual_seed(0)
        self.device = device
        self.clock = clock
        layout = torch.channels_last_3d if setting.channels_last else torch.contiguous_format
        student = network(task, task.student, deep_supervision=True).to(device, memory_format=layout)
        teacher = network(task, task.teacher, deep_supervision=False).to(device, memory_format=layout)
        teacher.eval().requires_grad_(False)
        self.student = TappedNetwork(student, nnunet_taps(student).only({"encoder"}))
        in_pytorch = TorchEngine(teacher, nnunet_taps(teacher).only({"encoder"}))
        on_cpu = device.type == "cpu"
        self.teacher = ChosenEngine(in_pytorch, wanted=setting.engine, batches=BATCHES) if on_cpu else in_pytorch
        self.method = build_method("dcd", student_channels=task.student, teacher_channels=task.teacher).to(device)
        self.parameters = [*student.parameters(), *self.method.parameters()]
        self.optimizer = torch.optim.SGD(
            self.parameters, 0.01, momentum=0.99, nesterov=True, weight_decay=3e-5, fused=setting.fused_optimiser
        )
        options = {"batch_dice": False, "smooth": 1e-5, "do_bg": False, "ddp": False}
        stock = DC_and_CE_loss(options, {}, dice_class=MemoryEfficientSoftDiceLoss)
        self.loss = LossInFloat32(DeepSupervisionWrapper(stock, task.weights))
        self.precision = choose_precision(
            setting.precision,
            device,
            speed_of_bfloat16=lambda: measure_bfloat16(student, channels=task.channels, patch_size=task.patch),
        ).precision
        self.batch = _augmented(task) if task.augmented else _made_once(task)
        self.layout = layout
        self.steps = 0

    def run(self) -> dict[str, float]:
        """Compute one step; returns the seconds of its pieces, and what the system did meanwhile."""
        before = resource.getrusage(resource.RUSAGE_SELF)
        seconds: dict[str, float] = {}

        @contextmanager
        def timed(piece: str) -> Iterator[None]:
            start = self.clock()
            yield
            if self.device.type == "cuda":
                torch.cuda.synchronize()
            seconds[piece] = self.clock() - start

        self.steps += 1
        for seed in (random.seed, np.random.seed, torch.manual_seed):
            seed(self.steps)  # what augmentation does takes very different times: the same for every setting
        with timed("augmentation"):
            x, targets = self.batch()
        x, targets = x.to(self.device, memory_format=self.layout), [target.to(self.device) for target in targets]
        self.optimizer.zero_grad(set_to_none=True)
        with computing_in(self.precision, self.device):
            with timed("student, forward"):
                output, ours = self.student(x)
            with timed("teacher's encoder"), torch.no_grad():
                theirs = self.teacher(x)
            with timed("segmentation loss"):
                segmentation = self.loss(output, targets)
            with timed("projection and φ"):
                loss = segmentation + 0.05 * self.method(ours, theirs)
        with timed("backward of student and loss"):
            loss.backward()
        with timed("optimiser"):
            nn.utils.clip_grad_norm_(self.parameters, 12)
            self.optimizer.step()
        after = resource.getrusage(resource.RUSAGE_SELF)
        return {
            **seconds,
            "page faults": after.ru_minflt - before.ru_minflt,
            "system seconds": after.ru_stime - before.ru_stime,
        }


Batch = tuple[Tensor, list[Tensor]]


def _augmented(task: Task) -> Callable[[], Batch]:
    """nnU-Net's augmentation, for a batch of random images of the size that its loader cuts out."""
    rotation = (-30 / 360 * 2 * np.pi, 30 / 360 * 2 * np.pi)
    transforms = nnUNetTrainerRecipe.get_training_transforms(
        np.array(task.patch), rotation, task.scales, (0, 1, 2), False, [False], foreground_labels=[1, 2]
    )
    size = [int(s) for s in get_patch_size(task.patch, rotation, rotation, rotation, (0.85, 1.25))]
    images = torch.randn(BATCH, task.channels, *size)
    labels = torch.randint(task.classes, (BATCH, 1, *size), dtype=torch.int16)

    def augment() -> Batch:
        samples = [transforms(image=image, segmentation=label) for image, label in zip(images, labels, strict=True)]
        targets = zip(*(sample["segmentation"] for sample in samples), strict=True)
        return torch.stack([sample["image"] for sample in samples]), [torch.stack(scale) for scale in targets]

    return augment


def _made_once(task: Task) -> Callable[[], Batch]:
    sizes = [[int(axis * by) for axis, by in zip(task.patch, scale, strict=True)] for scale in task.scales]
    targets = [torch.randint(task.classes, (BATCH, 1, *size), dtype=torch.int16) for size in sizes]
    batch = torch.randn(BATCH, task.channels, *task.patch), targets
    return lambda: batch


def floors(task: Task, precision: str, clock: Callable[[], float]) -> dict[str, float]:
    """Seconds below which the pieces cannot be on this machine, in the thread count of this process."""
    dtype = getattr(torch, precision)
    rate, bandwidth = _flops_per_second(dtype, clock), _bytes_per_second(clock)
    x = torch.zeros(BATCH, task.channels, *task.patch)
    counted = {}
    for name, features in (("student", task.student), ("teacher", task.teacher)):
        net = network(task, features, deep_supervision=False)
        encoder = net.encoder if name == "teacher" else net
        elements = _elements_of_outputs(encoder, x)
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            encoder(x)
        counted[name] = (counter.get_total_flops(), elements * dtype.itemsize)
    channels = [ours + theirs for ours, theirs in zip(task.student, task.teacher, strict=True)]
    features = [BATCH * number * math.prod(task.patch) // 8**stage for stage, number in enumerate(channels)]
    flops, size = counted["student"]
    return {
        "student, forward": max(flops / rate, 2 * size / bandwidth),
        "backward of student and loss": max(2 * flops / rate, 4 * size / bandwidth),
        "teacher's encoder": max(counted["teacher"][0] / rate, 2 * counted["teacher"][1] / bandwidth),
        "projection and φ": sum(features) * dtype.itemsize / bandwidth,
    }


def _elements_of_outputs(module: nn.Module, x: Tensor) -> int:
    counted: list[int] = []
    hooks = [
        layer.register_forward_hook(lambda layer, inputs, output: counted.append(output.numel()))
        for layer in module.modules()
        if not list(layer.children())
    ]
    with torch.no_grad():
        module(x)
    for hook in hooks:
        hook.remove()
    return sum(counted)


@cache
def _flops_per_second(dtype: torch.dtype, clock: Callable[[], float]) -> float:
    a = torch.ones(1024, 1024, dtype=dtype)
    return 2 * 1024**3 / _least_seconds(lambda: a @ a, clock)


@cache
def _bytes_per_second(clock: Callable[[], float]) -> float:
    source, target = torch.ones(1 << 24), torch.empty(1 << 24)
    return 2 * source.nbytes / _least_seconds(lambda: target.copy_(source), clock)


def _least_seconds(function: Callable[[], object], clock: Callable[[], float]) -> float:
    seconds = []
    for _ in range(9):
        start = clock()
        function()
        seconds.append(clock() - start)
    return min(seconds)


def work(
    connection: Connection, setting: Setting, task: Task, device: torch.device, clock: Callable[[], float]
) -> None:
    """In a process of its own: one step for every message, until there is none."""
    if setting.keeps_memory:
        keep_freed_memory()
    with stock_settings(device):
        step = Step(setting, task, device, clock)
        for _ in range(2):
            step.run()
        connection.send((step.precision, step.teacher.name))
        while connection.recv():
            connection.send(step.run())


def measure(
    names: list[str], *, task: Task, rounds: int, device: torch.device, clock: Callable[[], float]
) -> dict[str, dict[str, Any]]:
    context = multiprocessing.get_context("spawn")
    processes = {}
    measured: dict[str, dict[str, Any]] = {}
    for name in names:
        ours, theirs = context.Pipe()
        for variable in THREADS:
            os.environ.pop(variable, None)
        os.environ.update(SETTINGS[name].threads)  # read when the process loads OpenMP
        process = context.Process(target=work, args=(theirs, SETTINGS[name], task, device, clock), daemon=True)
        process.start()
        processes[name] = (ours, process)
        # Its choices are measured, so the next process waits for them.
        precision, engine = ours.recv()
        measured[name] = {"setting": asdict(SETTINGS[name]), "precision": precision, "engine": engine, "steps": []}
    for _ in range(rounds):
        for name, (connection, _) in processes.items():
            connection.send(True)
            measured[name]["steps"].append(connection.recv())
    for connection, process in processes.values():
        connection.send(False)
        process.join()
    for result in measured.values():
        result["floor"] = floors(task, result["precision"], clock) if device.type == "cpu" else {}
        for step in result["steps"]:
            step["whole step"] = sum(step[piece] for piece in PIECES)
        result["median"] = {key: statistics.median(step[key] for step in result["steps"]) for key in result["steps"][0]}
    return measured


def show(measured: dict[str, dict[str, Any]], *, task: str, rounds: int, device: torch.device) -> None:
    table = Table("piece", title=f"One training step of {task}, {described(device)}, median of {rounds}")
    for name, result in measured.items():
        table.add_column(f"{name} ({result['precision']}, {result['engine']})", justify="right")
        table.add_column("floor", justify="right")
    for piece in (*PIECES, "whole step"):
        cells = [(f"{r['median'][piece]:.3f}", _number(r["floor"].get(piece))) for r in measured.values()]
        table.add_row(piece, *(cell for pair in cells for cell in pair))
    table.add_section()
    for key, digits in (("page faults", 0), ("system seconds", 3)):
        table.add_row(key, *(cell for r in measured.values() for cell in (f"{r['median'][key]:.{digits}f}", "")))
    Console().print(table)


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--task", default="hippocampus", choices=list(TASKS))
    parser.add_argument("--settings", nargs="+", choices=list(SETTINGS), default=["0.1", "now"])
    parser.add_argument("--processor-time", action="store_true")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    device = torch.device(arguments.device)
    clock = time.process_time if arguments.processor_time else time.perf_counter
    task = TASKS[arguments.task]
    measured = measure(arguments.settings, task=task, rounds=arguments.rounds, device=device, clock=clock)
    show(measured, task=arguments.task, rounds=arguments.rounds, device=device)
    if arguments.json:
        facts = {
            "task": arguments.task,
            "device": described(device),
            "clock": clock.__name__,
            "threads": torch.get_num_threads(),
            "torch": torch.__version__,
        }
        result = {**describe_machine(), **facts, "settings": measured}
        arguments.json.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
