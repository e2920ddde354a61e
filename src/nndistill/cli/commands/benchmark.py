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
from ..options import AsJson, Device
from ..output import print_json, show_rows

if TYPE_CHECKING:
    import pandas as pd

    from ...benchmark.candidates import Candidate
    from ...benchmark.commands import Command, CommandCosts
    from ...benchmark.result import Benchmark
    from ...benchmark.timing import Timing


def benchmark(
    models: Annotated[
        list[str],
        typer.Argument(
            help="Exported models and trained nnU-Nets' model folders, or NAME=FOLDER; compared with the first."
        ),
    ],
    input: Annotated[
        Path, typer.Option(help="A case: its first file, CASE_0000.nii.gz, or a folder that holds it alone.")
    ],
    backend: Annotated[
        list[str] | None,
        typer.Option(help="Measure every model with this where it can: torch, onnxruntime, openvino; repeat for more."),
    ] = None,
    rounds: Annotated[int, typer.Option(min=1, help="How often a patch is computed; a case at most.")] = 5,
    case: Annotated[bool, typer.Option(help="Predict the whole case, too, from NIfTI to NIfTI.")] = True,
    case_seconds: Annotated[
        float,
        typer.Option(min=0, help="How long a model may take for all its predictions of the case; one is always made."),
    ] = 120.0,
    mirror: Annotated[bool, typer.Option(help="Predict the case with mirroring, as nnU-Net does.")] = True,
    stock: Annotated[
        bool, typer.Option("--stock", help="Then run the commands, too: nndistill predict beside stock nnU-Net's own.")
    ] = False,
    metrics: Annotated[
        list[str] | None, typer.Option(help="NAME=metrics.csv, from nndistill evaluate: the figure shows Dice.")
    ] = None,
    device: Device = "auto",
    fold: Annotated[str | None, typer.Option(help="Of model folders with several: 0 to 4, or all.")] = None,
    out: Annotated[Path, typer.Option(help="Folder for tables and figure.")] = Path("nndistill-benchmark"),
    as_json: AsJson = False,
) -> None:
    """Time, memory and size of models: a patch and a whole case, the models taking turns."""
    from ...benchmark.candidates import find_candidates
    from ...benchmark.models import benchmark as measure
    from ...benchmark.result import ABOUT
    from ...files import write_json

    candidates = find_candidates(models, backend or ())
    measures = _metrics(metrics or [], [candidate.name for candidate in candidates])
    common: dict[str, Any] = {"mirror": mirror, "device": device, "fold": fold}
    commands = _commands(candidates, **common) if stock else []
    with StepProgress("models") as progress:
        measured = measure(
            candidates, input, rounds=rounds, case=case, case_seconds=case_seconds, progress=progress, **common
        )
    numbers = measured.numbers()
    limits = {"rounds": rounds, "case_seconds": case_seconds}
    of_commands = _measure_commands(commands, measured, **limits) if commands else []
    if of_commands:
        numbers[ABOUT]["commands"] = {made.command.name: made.numbers(of_commands[0]) for made in of_commands}
    write_json(out / "benchmark.json", numbers)
    files = ["benchmark.json", *_write_report(measured, measures, out)]
    if as_json:
        print_json(numbers)
        return
    _show(measured, of_commands)
    print(f"\nWritten into {out}: {', '.join(files)}")


def _metrics(given: Sequence[str], names: Sequence[str]) -> dict[str, pd.DataFrame]:
    """Metrics by the name of the model that they are of."""
    metrics = {}
    for text in given:
        name, equals, file = text.partition("=")
        if not equals:
            raise UserError(f"--metrics {text} is not of the form NAME=metrics.csv.")
        if name not in names:
            raise UnknownName("model", name, names)
        from ...evaluation.metrics_file import read_metrics

        metrics[name] = read_metrics(Path(file))
    return metrics


def _commands(candidates: Sequence[Candidate], **options: Any) -> list[Command]:
    from ...benchmark.commands import commands_for

    return commands_for(candidates, **options)


def _measure_commands(commands: Sequence[Command], measured: Benchmark, **limits: Any) -> list[CommandCosts]:
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
    """Tables and figure, where the packages that make them are installed: a workstation has none of these."""
    if not (find_spec("pandas") and find_spec("matplotlib")):
        return []
    from ...reporting.figures.benchmark import draw_benchmark
    from ...reporting.figures.chart import save_chart
    from ...reporting.tables.benchmark import benchmark_table

    tables = benchmark_table(measured, metrics).write(out)
    figures = save_chart(draw_benchmark(measured, metrics), out, "benchmark")
    return [file.name for file in (*tables, *figures)]


def _show(measured: Benchmark, commands: Sequence[CommandCosts]) -> None:
    base = measured.models[0]
    rows = {
        f"{costs.name}\n{costs.facts['backend']}\n{costs.facts['precision']}": [
            *_timing(costs.patch, base.patch),
            *(_timing(costs.case, base.case) if costs.case and base.case else ("–", "–")),
            _mebibytes(costs.memory_bytes),
        ]
        for costs in measured.models
    }
    columns = ["s a patch", "× as fast", "s a case", "× as fast", "memory"]
    show_rows(columns, rows, f"Medians and below them the extremes; compared with {base.name}")
    if commands:
        first = commands[0]
        rows = {
            made.command.name: [
                *_timing(made.case, first.case),
                _mebibytes(made.memory_bytes),
                f"{made.memory_bytes / first.memory_bytes:.2f}",
            ]
            for made in commands
        }
        columns = ["s a case", "× as fast", "memory", "× memory"]
        show_rows(columns, rows, f"Commands from start to end, compared with {first.command.name}")
    machine = measured.about["machine"]
    print(f"{machine['cores']} cores of {machine['processor']}, case {measured.about['case']}")
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
