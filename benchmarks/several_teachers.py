"""Time and memory of a training step with one teacher and with five, for each way in which several teach.

    OMP_NUM_THREADS=1 python benchmarks/several_teachers.py --json teachers.json

The networks are those of `training_step.py`, the method is DCD with logits, images are random. The ways take turns,
each time in a process of its own, whose peak memory is reported. Times are seconds of the processor, since a machine
may do other things: medians over the rounds, each of which is the median of a few steps.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import resource
import statistics
import time
from pathlib import Path

import pandas as pd
import torch
from rich.console import Console
from rich.table import Table
from torch import nn

from nndistill import Distiller
from nndistill.freed_memory import keep_freed_memory
from nndistill.methods import build_method, for_several_teachers
from nndistill.runtime.machine import describe_machine
from training_step import BATCH, TASKS, Task, network

TEACHERS = 5
WAYS = ("one", "mean", "rotate", "out-of-fold")


def teachers_of(way: str, step: int) -> list[list[int]] | None:
    """Who teaches each sample of a batch; out-of-fold, the cases of a batch are those of two folds."""
    turns = {
        "rotate": [[step % TEACHERS]] * BATCH,
        "out-of-fold": [[(step + sample) % TEACHERS] for sample in range(BATCH)],
    }
    return turns.get(way)


def measure(way: str, task: Task, steps: int) -> dict[str, float]:
    """Run some steps; returns the median of their seconds, and the process's peak memory in GiB."""
    torch.manual_seed(0)
    keep_freed_memory()
    count = 1 if way == "one" else TEACHERS
    student = network(task, task.student, deep_supervision=False)
    teachers = [network(task, task.teacher, deep_supervision=False) for _ in range(count)]
    channels = {"student_channels": task.student, "teacher_channels": task.teacher}
    method = for_several_teachers([build_method("dcd+logits", **channels) for _ in range(count)])
    distiller = Distiller(student, teachers if count > 1 else teachers[0], method)
    optimizer = torch.optim.SGD(distiller.parameters(), 0.01, momentum=0.99, nesterov=True)
    x = torch.randn(BATCH, task.channels, *task.patch)
    target = torch.randint(task.classes, (BATCH, *task.patch))
    seconds = []
    for step in range(steps + 1):
        start = time.process_time()
        optimizer.zero_grad(set_to_none=True)
        output, loss = distiller(x, teachers=teachers_of(way, step))
        (nn.functional.cross_entropy(output, target) + 0.05 * loss).backward()
        optimizer.step()
        seconds.append(time.process_time() - start)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    return {"seconds": statistics.median(seconds[1:]), "peak_gib": peak}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--task", default="hippocampus", choices=list(TASKS))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=3, help="timed steps per round")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    context = multiprocessing.get_context("spawn")
    rounds = []
    for _ in range(arguments.rounds):
        for way in WAYS:
            with context.Pool(1) as process:
                rounds.append({"way": way, **process.apply(measure, (way, TASKS[arguments.task], arguments.steps))})
    measured = pd.DataFrame(rounds).groupby("way", sort=False).median()
    table = Table("teachers", "seconds per step", "peak memory", title=f"A step of {arguments.task}, batch {BATCH}")
    for way, seconds, peak_gib in measured.itertuples():
        name = way if way == "one" else f"{TEACHERS}, {way}"
        table.add_row(name, f"{seconds:.2f}", f"{peak_gib:.2f} GiB")
    Console().print(table)
    if arguments.json:
        facts = {"task": arguments.task, "threads": torch.get_num_threads(), "rounds": rounds}
        arguments.json.write_text(json.dumps({**describe_machine(), **facts}, indent=2) + "\n")


if __name__ == "__main__":
    main()
