"""`nndistill benchmark`."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ...errors import UnknownName, UserError
from ...progress import StepProgress
from ...runtime.formats import RUNTIMES
from ..options import AsJson, Device, Folds
from ..output import print_json, show_rows

if TYPE_CHECKING:
    import pandas as pd

    from ...benchmark.candidates import Candidate
    from ...benchmark.commands import Command, CommandResult
    from ...benchmark.result import Benchmark
    from ...benchmark.timing import Timing


def benchmark(
    models: Annotated[
        list[str],
        typer.Argument(
            help="Exported models or nnU-Net model folders: FOLDER, or NAME=FOLDER. All are compared with the first."
        ),
    ],
    input: Annotated[
        Path,
        typer.Option(
            help="Case to measure on: its first file, CASE_0000.nii.gz, or a folder that holds only this case."
        ),
    ],
    backend: Annotated[
        list[str] | None,
        typer.Option(
            help=f"Runtime in which to measure every model that it can run: {', '.join(RUNTIMES)}. Repeat the option "
            "for more. Default: the one for each model's format."
        ),
    ] = None,
    rounds: Annotated[
        int, typer.Option(min=1, help="How often a model computes a patch, and at most how often it predicts the case.")
    ] = 5,
    case: Annotated[bool, typer.Option(help="Also predict the whole case, from NIfTI to NIfTI.")] = True,
    case_seconds: Annotated[
        float,
        typer.Option(
            min=0, help="Seconds that a model may spend on predicting the case; one prediction is always made."
        ),
    ] = 120.0,
    mirror: Annotated[bool, typer.Option(help="Predict the case with mirroring, as nnU-Net does.")] = True,
    stock: Annotated[
        bool, typer.Option("--stock", help="Also compare whole commands: nndistill predict and stock nnU-Net's own.")
    ] = False,
    metrics: Annotated[
        list[str] | None,
        typer.Option(
            help="NAME=metrics.csv from nndistill evaluate, to show Dice in table and figure. Repeat the option for "
            "more."
        ),
    ] = None,
    device: Device = "auto",
    fold: Folds = None,
    out: Annotated[Path, typer.Option(help="Folder for the tables and the figure.")] = Path("nndistill-benchmark"),
    as_json: AsJson = False,
) -> None:
    """Measure latency, memory and size of models, for a patch and for a whole case; the models take turns."""
    from ...benchmark.candidates import find_candidates
    from ...benchmark.models import benchmark as measure
    from ...benchmark.result import MEASUREMENT
    from ...files import check_writable, write_json

    candidates = find_candidates(models, backend or ())
    measures = _metrics(metrics or [], [candidate.name for candidate in candidates])
    common: dict[str, Any] = {"mirror": mirror, "device": device, "fold": fold}
    commands = _commands(candidates, **common) if stock else []
    check_writable(out / "benchmark.json", option="out")
    with StepProgress("models") as progress:
        measured = measure(
            candidates, input, rounds=rounds, case=case, case_seconds=case_seconds, progress=progress, **common
        )
    numbers = measured.numbers()
    write_json(out / "benchmark.json", numbers)  # kept even if a command fails
    limits = {"rounds": rounds, "case_seconds": case_seconds}
    command_results = _measure_commands(commands, measured, **limits) if commands else []
    if command_results:
        numbers[MEASUREMENT]["commands"] = {
            result.command.name: result.numbers(command_results[0]) for result in command_results
        }
        write_json(out / "benchmark.json", numbers)
    files = ["benchmark.json", *_write_report(measured, measures, out)]
    if as_json:
        print_json(numbers)
        return
    _show(measured, command_results)
    print(f"\nWritten into {out}: {', '.join(files)}")


def _metrics(given: Sequence[str], names: Sequence[str]) -> dict[str, pd.DataFrame]:
    """Metrics by the model's name."""
    metrics = {}
    for text in given:
        name, equals, file = text.partition("=")
        if not equals:
            raise UserError(f"--metrics {text} is not of the form NAME=metrics.csv.")
        if name not in names:
            raise UnknownName("model", name, names, option="metrics")
        from ...evaluation.metrics_file import read_metrics

        metrics[name] = read_metrics(Path(file))
    return metrics


def _commands(candidates: Sequence[Candidate], **options: Any) -> list[Command]:
    from ...benchmark.commands import commands_for

    return commands_for(candidates, **options)


def _measure_commands(commands: Sequence[Command], measured: Benchmark, **limits: Any) -> list[CommandResult]:
    from ...benchmark.commands import measure_commands

    with StepProgress("commands") as progress, TemporaryDirectory() as label_maps:
        return measure_commands(
            commands,
            measured.case,
            file_ending=measured.file_ending,
            output=Path(label_maps),
            progress=progress,
            **limits,
        )


def _write_report(measured: Benchmark, metrics: dict[str, pd.DataFrame], out: Path) -> list[str]:
    """Write tables and figure if the packages that make them are installed: a workstation does not have them."""
    if not (find_spec("pandas") and find_spec("matplotlib")):
        return []
    from ...reporting.figures.benchmark import draw_benchmark
    from ...reporting.figures.chart import save_chart
    from ...reporting.tables.benchmark import benchmark_table

    tables = benchmark_table(measured, metrics).write(out)
    figures = save_chart(draw_benchmark(measured, metrics), out, "benchmark")
    return [file.name for file in (*tables, *figures)]


def _show(measured: Benchmark, commands: Sequence[CommandResult]) -> None:
    base = measured.models[0]
    rows = {
        f"{model.name}\n{model.facts['backend']}\n{model.facts['precision']}": [
            *_timing(model.patch, base.patch),
            *(_timing(model.case, base.case) if model.case and base.case else ("–", "–")),
            _mebibytes(model.memory_bytes),
        ]
        for model in measured.models
    }
    columns = ["s per patch", "speed-up", "s per case", "speed-up", "memory"]
    show_rows(columns, rows, f"Median, with the extremes below it; compared with {base.name}")
    if commands:
        first = commands[0]
        rows = {
            result.command.name: [
                *_timing(result.case, first.case),
                _mebibytes(result.memory_bytes),
                f"{result.memory_bytes / first.memory_bytes:.2f}",
            ]
            for result in commands
        }
        columns = ["s per case", "speed-up", "memory", "× memory"]
        show_rows(columns, rows, f"Whole commands, compared with {first.command.name}")
    machine = measured.conditions["machine"]
    print(f"{machine['cores']} cores of {machine['processor']}, case {measured.conditions['case']}")
    for note in measured.notes:
        print(f"- {note}")


def _timing(timing: Timing, base: Timing) -> tuple[str, str]:
    fastest, slowest = timing.spread
    speed = timing.speed(base)
    return (
        f"{timing.median:.3g}\n{fastest:.3g} … {slowest:.3g}",
        f"{speed.ratio:.3g}\n{speed.least:.3g} … {speed.greatest:.3g}",
    )


def _mebibytes(count: int) -> str:
    return f"{count / 2**20:.0f} MiB"
