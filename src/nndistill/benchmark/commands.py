"""From the command line: `nndistill predict` beside stock nnU-Net's own command, from start to end on the same case."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from ..errors import UserError
from ..runtime.cases import InputCase
from ..runtime.description import FILE_NAME
from .candidates import Candidate
from .measured_command import MeasuredCommand, measure_command
from .timing import Timing, rounds_that_fit

STOCK = "nnUNetv2_predict_from_modelfolder"


@dataclass(frozen=True)
class Command:
    """A command that predicts the case.

    Args:
        name: The candidate's, and for stock nnU-Net `…, stock nnU-Net`.
        words: Program and arguments, without input and output.
        input, output: The options before these two folders; empty where they need none.
    """

    name: str
    words: tuple[str, ...]
    input: tuple[str, ...] = ()
    output: tuple[str, ...] = ()


@dataclass(frozen=True)
class CommandCosts:
    """What predicting the case with a command costs, its start and loading the model included.

    Args:
        command: Which.
        case: Its runs.
        memory_bytes: The greatest of their peaks, of the command and all processes that it starts together.
        label_map: What it wrote.
    """

    command: Command
    case: Timing
    memory_bytes: int
    label_map: Path

    def numbers(self, base: CommandCosts) -> dict[str, Any]:
        """As plain values, compared with another command."""
        return {
            "command": " ".join(self.command.words),
            "latency_s": self.case.median,
            **self.case.numbers("case", base.case),
            "memory_bytes": self.memory_bytes,
            "memory_share": self.memory_bytes / base.memory_bytes,
        }


def commands_for(
    candidates: Sequence[Candidate], *, mirror: bool = True, device: str = "auto", fold: str | None = None
) -> list[Command]:
    """Stock nnU-Net's command for every candidate that is its model folder, and then ours for all candidates.

    Stock nnU-Net gets one process for reading and one for writing, the leanest it can have.

    Args:
        candidates: As `find_candidates` gives them.
        mirror, device, fold: As in `benchmark`.

    Raises:
        UserError: No candidate is a model folder of nnU-Net.
    """
    folders = [candidate for candidate in candidates if not (candidate.path / FILE_NAME).is_file()]
    if not folders:
        raise UserError("--stock needs a model folder of nnU-Net among the models: stock nnU-Net predicts no other.")
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
) -> list[CommandCosts]:
    """Let commands predict a case in turn, one at a time.

    Args:
        commands: What to measure.
        case: What they predict.
        file_ending: Of its files.
        output: Folder for the label maps, a folder a command.
        rounds: How often, at most.
        case_seconds: How long all runs of a command may take; the first is always made.
        progress: Called with the number of runs done and of all.

    Raises:
        UserError: A command failed.
    """
    runs = [_Runs(command, output / str(number)) for number, command in enumerate(commands)]
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
        CommandCosts(
            command=run.command,
            case=Timing(tuple(made.seconds for made in run.made)),
            memory_bytes=max(made.memory_bytes for made in run.made),
            label_map=run.output / f"{case.name}{file_ending}",
        )
        for run in runs
    ]


@dataclass
class _Runs:
    """What a command has taken so far, and how often it is to run."""

    command: Command
    output: Path
    turns: int = 1
    made: list[MeasuredCommand] = field(default_factory=list)

    def once_more(self, input: Path) -> None:
        shutil.rmtree(self.output, ignore_errors=True)
        command = self.command
        words = [*command.words, *command.input, str(input), *command.output, str(self.output)]
        # Threads that spin while they wait would make stock nnU-Net slower than it is.
        self.made.append(measure_command(words, environment={"OMP_WAIT_POLICY": "PASSIVE"}))


def _stock(candidate: Candidate, *, mirror: bool, device: str, fold: str | None) -> Command:
    from ..nnunet.models.model_folder import ModelFolder
    from ..runtime.backends.torch import find_device

    folder = ModelFolder.read(candidate.path)
    checkpoint = folder.checkpoint_file(fold or folder.only_fold())
    program = [str(Path(sys.executable).with_name(STOCK)), "-m", str(candidate.path)]
    weights = ["-f", checkpoint.parent.name.removeprefix("fold_"), "-chk", checkpoint.name]
    lean = ["-npp", "1", "-nps", "1", "--disable_progress_bar", "-device", find_device(device).type]
    words = [*program, *weights, *lean, *([] if mirror else ["--disable_tta"])]
    return Command(f"{candidate.name}, stock nnU-Net", tuple(words), ("-i",), ("-o",))


def _ours(candidate: Candidate, *, mirror: bool, device: str, fold: str | None) -> Command:
    words = [sys.executable, "-m", "nndistill", "predict", "--any-orientation", "--device", device]
    words += ["--backend", candidate.backend, *([] if mirror else ["--no-mirror"])]
    words += ["--fold", fold] if fold and not (candidate.path / FILE_NAME).is_file() else []
    return Command(candidate.name, (*words, str(candidate.path)))
