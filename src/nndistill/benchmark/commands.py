"""Whole commands, from start to end on the same case: `nndistill predict` compared with stock nnU-Net's own."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from ..errors import UserError
from ..idle_threads import idle_threads_sleep
from ..runtime.cases import InputCase
from .candidates import Candidate
from .measured_command import MeasuredCommand, measure_command
from .timing import Timing, rounds_that_fit

STOCK = "nnUNetv2_predict_from_modelfolder"


@dataclass(frozen=True)
class Command:
    """A command that predicts the case.

    Args:
        name: The candidate's; stock nnU-Net's command is called `…, stock nnU-Net`.
        arguments: Program and arguments, without input and output.
        input, output: The options before these two folders; empty if they need none.
    """

    name: str
    arguments: tuple[str, ...]
    input: tuple[str, ...] = ()
    output: tuple[str, ...] = ()


@dataclass(frozen=True)
class CommandResult:
    """What predicting the case with a command costs, including its start and loading the model.

    Args:
        command: The command.
        case: Latency of the command.
        memory_bytes: The greatest peak of its runs, of the command and all processes that it starts together.
        label_map: The file that it wrote.
    """

    command: Command
    case: Timing
    memory_bytes: int
    label_map: Path

    def numbers(self, base: CommandResult) -> dict[str, Any]:
        """As plain values, compared with another command."""
        return {
            "command": " ".join(self.command.arguments),
            "latency_s": self.case.median,
            **self.case.numbers("case", base.case),
            "memory_bytes": self.memory_bytes,
            "memory_share": self.memory_bytes / base.memory_bytes,
        }


def commands_for(
    candidates: Sequence[Candidate],
    *,
    mirror: bool = True,
    device: str = "auto",
    fold: str | Sequence[str] | None = None,
) -> list[Command]:
    """Stock nnU-Net's command for every candidate that is an nnU-Net model folder, then ours for all candidates.

    Stock nnU-Net gets one process for reading and one for writing, the leanest it can have.

    Args:
        candidates: From `find_candidates`.
        mirror, device, fold: As in `benchmark`.

    Raises:
        UserError: No candidate is an nnU-Net model folder, or nnU-Net's command is not installed beside this Python.
    """
    folders = [candidate for candidate in candidates if not candidate.is_export]
    if not folders:
        raise UserError("stock nnU-Net needs an nnU-Net model folder, and none of the models is one.", option="stock")
    return [
        *(_stock(candidate, mirror=mirror, device=device, fold=fold) for candidate in folders),
        *(_ours(candidate, mirror=mirror, device=device, fold=fold) for candidate in candidates),
    ]


def measure_commands(
    commands: Sequence[Command],
    case: InputCase,
    *,
    file_ending: str,
    output: Path,
    rounds: int = 5,
    case_seconds: float = 120.0,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> list[CommandResult]:
    """Let commands predict a case, taking turns, one at a time.

    Args:
        commands: The commands to measure.
        case: The case that they predict.
        file_ending: Of the case's files.
        output: Folder for the label maps, with a folder per command.
        rounds: How often each command runs, at most.
        case_seconds: How long all runs of a command may take; the first is always made.
        progress: Called with the number of finished runs and of all.

    Raises:
        UserError: A command failed.
    """
    runs = [_CommandRuns(command, output / str(number)) for number, command in enumerate(commands)]
    done, total = 0, len(runs)
    with TemporaryDirectory() as folder:
        for channel, file in case.files.items():
            (Path(folder) / f"{case.name}_{channel:04d}{file_ending}").symlink_to(file.resolve())
        for turn in range(rounds):
            for run in runs:
                if turn < run.turns:
                    progress(done, total)
                    run.once_more(Path(folder))
                    done += 1
                if turn == 0:
                    run.turns = 1 + rounds_that_fit(run.made[0].seconds, rounds=rounds - 1, budget=case_seconds)
                    total += run.turns - 1
    progress(done, total)
    return [
        CommandResult(
            command=run.command,
            case=Timing(tuple(made.seconds for made in run.made)),
            memory_bytes=max(made.memory_bytes for made in run.made),
            label_map=run.output / f"{case.name}{file_ending}",
        )
        for run in runs
    ]


@dataclass
class _CommandRuns:
    """The runs of a command so far, and how many there will be."""

    command: Command
    output: Path
    turns: int = 1
    made: list[MeasuredCommand] = field(default_factory=list)

    def once_more(self, input: Path) -> None:
        shutil.rmtree(self.output, ignore_errors=True)
        command = self.command
        line = [*command.arguments, *command.input, str(input), *command.output, str(self.output)]
        # Stock nnU-Net sets nothing of this; it is measured under the same conditions as our own commands.
        self.made.append(measure_command(line, environment=idle_threads_sleep(os.environ)))


def _stock(candidate: Candidate, *, mirror: bool, device: str, fold: str | Sequence[str] | None) -> Command:
    from ..nnunet.models.folds import checkpoints_of_folds
    from ..nnunet.models.model_folder import ModelFolder
    from ..runtime.backends.torch import find_device

    checkpoints = checkpoints_of_folds(ModelFolder.read(candidate.path), fold)
    beside_python = Path(sys.executable).with_name(STOCK)
    program = str(beside_python) if beside_python.is_file() else shutil.which(STOCK)
    if program is None:
        raise UserError(f"{STOCK} is not found, which stock nnU-Net predicts with: install nnunetv2.", option="stock")
    folds = [checkpoint.parent.name.removeprefix("fold_") for checkpoint in checkpoints]
    weights = ["-f", *folds, "-chk", checkpoints[0].name]
    lean = ["-npp", "1", "-nps", "1", "--disable_progress_bar", "-device", find_device(device).type]
    arguments = [program, "-m", str(candidate.path), *weights, *lean, *([] if mirror else ["--disable_tta"])]
    return Command(f"{candidate.name}, stock nnU-Net", tuple(arguments), ("-i",), ("-o",))


def _ours(candidate: Candidate, *, mirror: bool, device: str, fold: str | Sequence[str] | None) -> Command:
    arguments = [sys.executable, "-m", "nndistill", "predict"]
    if fold and not candidate.is_export:
        arguments += ["--fold", *([fold] if isinstance(fold, str) else fold)]
    arguments += ["--any-orientation", "--device", device, "--backend", candidate.backend]
    arguments += [] if mirror else ["--no-mirror"]
    return Command(candidate.name, (*arguments, str(candidate.path)))
