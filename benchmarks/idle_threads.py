"""What it costs to let OpenMP's threads look for work longer or less long before they sleep.

    python benchmarks/idle_threads.py --json threads.json

The step is that of `training_step.py` for the hippocampus networks, on all cores: alone on the machine, beside a second
training of the same kind, and beside a program that keeps one core busy. Each is a process of its own, since OpenMP
reads its variables once. The numbers of looks take turns; medians over the rounds of each process's seconds per step
are reported. 300,000 looks are what GNU's OpenMP does by itself.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

from rich.console import Console
from rich.table import Table

from nndistill.runtime.machine import describe_machine

LOOKS = (0, 2000, 5000, 10_000, 20_000, 300_000)
COMPANIES = ("alone", "two trainings", "beside a busy core")
LONGEST = 60.0
"""Seconds after which a process reports the steps that it has."""

_BUSY = "while True: pass"


def work(precision: str, steps: int) -> None:
    """In a process of its own: print the seconds per step."""
    import torch

    from nndistill.freed_memory import keep_freed_memory
    from training_step import TASKS, Setting, Step

    keep_freed_memory()
    step = Step(Setting(precision=precision), TASKS["hippocampus"], torch.device("cpu"), time.perf_counter)
    step.run()
    seconds: list[float] = []
    while len(seconds) < steps and sum(seconds) < LONGEST:
        start = time.perf_counter()
        step.run()
        seconds.append(time.perf_counter() - start)
    print(statistics.median(seconds))


def seconds_per_step(looks: int, company: str, *, precision: str, steps: int) -> float:
    """Of a training that looks so often, in this company."""
    environment = {**os.environ, "OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": str(looks)}
    command = [sys.executable, __file__, "--precision", precision, "--steps", str(steps), "--work"]
    busy = subprocess.Popen([sys.executable, "-c", _BUSY]) if company == "beside a busy core" else None
    try:
        trainings = [
            subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)
            for _ in range(2 if company == "two trainings" else 1)
        ]
        return statistics.mean(float(training.communicate()[0]) for training in trainings)
    finally:
        if busy:
            busy.kill()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--precision", default="auto")
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--looks", nargs="+", type=int, default=LOOKS)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--work", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.work:
        work(arguments.precision, arguments.steps)
        return
    measured: dict[str, dict[int, list[float]]] = {
        company: {looks: [] for looks in arguments.looks} for company in COMPANIES
    }
    for _ in range(arguments.rounds):
        for company, of_looks in measured.items():
            for looks, seconds in of_looks.items():
                seconds.append(seconds_per_step(looks, company, precision=arguments.precision, steps=arguments.steps))
    table = Table("looks before a thread sleeps", *COMPANIES, title="Seconds per training step")
    for looks in arguments.looks:
        table.add_row(f"{looks:,}", *(f"{statistics.median(measured[company][looks]):.3f}" for company in COMPANIES))
    Console().print(table)
    if arguments.json:
        arguments.json.write_text(json.dumps({**describe_machine(), "seconds": measured}, indent=2) + "\n")


if __name__ == "__main__":
    main()
