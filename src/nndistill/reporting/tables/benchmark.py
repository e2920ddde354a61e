"""What models cost to run, as a table for papers: the paper's Table 3 with measured columns."""

from __future__ import annotations

from collections.abc import Mapping
from math import isfinite, nan

import pandas as pd

from ...benchmark.result import Benchmark, Costs
from ..metrics import DICE, case_means, standard_error
from .table import Cell, Column, Table


def benchmark_table(benchmark: Benchmark, metrics: Mapping[str, pd.DataFrame] | None = None) -> Table:
    """Put what was measured beside parameters and FLOPs; columns that no model has a value for are left out.

    Args:
        benchmark: What was measured.
        metrics: Metrics of models, by their names.
    """
    metrics = metrics or {}
    base = benchmark.models[0]
    columns = {
        "parameters": Column("Parameters", write=lambda n: f"{n / 1e6:.3f} M"),
        "flops": Column("FLOPs a patch", write=lambda n: f"{n / 1e9:.1f} G"),
        "disk": Column("On disk", write=lambda n: f"{n / 1e6:.1f} MB"),
        "patch": Column("Seconds a patch", write="{:.3g}".format),
        "patch_speed": Column("Times as fast, a patch", write="{:#.3g}".format),
        "case": Column("Seconds a case", write="{:.3g}".format),
        "case_speed": Column("Times as fast, a case", write="{:#.3g}".format),
        "memory": Column("Peak memory", write=lambda n: f"{n / 2**20:.0f} MiB"),
        "dice": Column(DICE.heading, write=DICE.text),
    }
    cells = {costs.name: _cells(costs, base, metrics.get(costs.name)) for costs in benchmark.models}
    shown = [key for key in columns if any(isfinite(float(cell[key].value)) for cell in cells.values())]
    machine, about = benchmark.about["machine"], benchmark.about
    case = (
        f"A case: {about['case']}, {about['case_voxels'] / 1e6:.1f} million voxels, NIfTI to NIfTI, "
        f"{'with' if about['mirroring'] else 'without'} mirroring. "
    )
    return Table(
        name="benchmark",
        title="Costs, measured",
        caption=f"{machine['cores']} cores of {machine['processor']}. Seconds: medians of rounds in which the models "
        "took turns. A patch: the network alone, without mirroring; FLOPs of its convolutions, two a multiply-add. "
        f"{case if 'case' in shown else ''}Times as fast: than {base.name}.",
        stubs=["Model", "Runtime", "Precision"],
        columns=[columns[key] for key in shown],
        rows=[
            (
                [costs.name, costs.facts["backend"], costs.facts["precision"]],
                [cells[costs.name][key] for key in shown],
            )
            for costs in benchmark.models
        ],
    )


def _cells(costs: Costs, base: Costs, metrics: pd.DataFrame | None) -> dict[str, Cell]:
    return {
        "parameters": _cell(costs.parameters),
        "flops": _cell(costs.flops_patch),
        "disk": _cell(costs.disk_bytes),
        "patch": _cell(costs.patch.median),
        "patch_speed": _cell(costs.patch.speed(base.patch).ratio),
        "case": _cell(costs.case.median if costs.case else None),
        "case_speed": _cell(costs.case.speed(base.case).ratio if costs.case and base.case else None),
        "memory": _cell(costs.memory_bytes),
        "dice": _dice(metrics),
    }


def _cell(value: float | None) -> Cell:
    return Cell(nan if value is None else float(value))


def _dice(metrics: pd.DataFrame | None) -> Cell:
    if metrics is None:
        return Cell(nan)
    dice = case_means(metrics)[DICE.column].dropna()
    return Cell(float(dice.mean()), error=standard_error(dice), count=len(dice))
