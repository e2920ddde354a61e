"""What models cost to run, as a table for papers: the paper's Table 3 with measured columns."""

from __future__ import annotations

from collections.abc import Mapping
from math import isfinite, nan

import pandas as pd

from ...benchmark.result import Benchmark, ModelResult
from ...evaluation.aggregates import mean_of_labels
from ..metrics import DICE
from .table import Cell, Column, Table


def benchmark_table(benchmark: Benchmark, metrics: Mapping[str, pd.DataFrame] | None = None) -> Table:
    """Tabulate what was measured, with parameters and FLOPs; a column without any value is left out.

    Args:
        benchmark: The measurement.
        metrics: Metrics by the models' names.
    """
    metrics = metrics or {}
    base = benchmark.models[0]
    columns = {
        "parameters": Column("Parameters", write=lambda n: f"{n / 1e6:.3f} M"),
        "flops": Column("FLOPs per patch", write=lambda n: f"{n / 1e9:.1f} G"),
        "disk": Column("On disk", write=lambda n: f"{n / 1e6:.1f} MB"),
        "patch": Column("Seconds per patch", write="{:.3g}".format),
        "patch_speed": Column("Speed-up, patch", write="{:#.3g}".format),
        "case": Column("Seconds per case", write="{:.3g}".format),
        "case_speed": Column("Speed-up, case", write="{:#.3g}".format),
        "memory": Column("Peak memory", write=lambda n: f"{n / 2**20:.0f} MiB"),
        "dice": Column(DICE.heading, write=DICE.text),
    }
    cells = {model.name: _cells(model, base, metrics.get(model.name)) for model in benchmark.models}
    shown = [key for key in columns if any(isfinite(float(cell[key].value)) for cell in cells.values())]
    conditions, machine = benchmark.conditions, benchmark.conditions["machine"]
    case = (
        f"Case: {conditions['case']}, {conditions['case_voxels'] / 1e6:.1f} million voxels, NIfTI to NIfTI, "
        f"{'with' if conditions['mirroring'] else 'without'} mirroring. "
    )
    return Table(
        name="benchmark",
        title="Costs, measured",
        caption=f"{machine['cores']} cores of {machine['processor']}. Seconds: medians of rounds in which the models "
        "took turns. Patch: the network alone, without mirroring; FLOPs of its convolutions, two per multiply-add. "
        f"{case if 'case' in shown else ''}Speed-up: ratio of medians, compared with {base.name}.",
        stubs=["Model", "Runtime", "Precision"],
        columns=[columns[key] for key in shown],
        rows=[
            (
                [model.name, model.facts["backend"], model.facts["precision"]],
                [cells[model.name][key] for key in shown],
            )
            for model in benchmark.models
        ],
    )


def _cells(model: ModelResult, base: ModelResult, metrics: pd.DataFrame | None) -> dict[str, Cell]:
    return {
        "parameters": _cell(model.parameters),
        "flops": _cell(model.flops_patch),
        "disk": _cell(model.disk_bytes),
        "patch": _cell(model.patch.median),
        "patch_speed": _cell(model.patch.speed(base.patch).ratio),
        "case": _cell(model.case.median if model.case else None),
        "case_speed": _cell(model.case.speed(base.case).ratio if model.case and base.case else None),
        "memory": _cell(model.memory_bytes),
        "dice": _dice(metrics),
    }


def _cell(value: float | None) -> Cell:
    return Cell(nan if value is None else float(value))


def _dice(metrics: pd.DataFrame | None) -> Cell:
    if metrics is None:
        return Cell(nan)
    dice = mean_of_labels(metrics, DICE.column)
    return Cell(dice.value, error=dice.error, count=dice.cases)
