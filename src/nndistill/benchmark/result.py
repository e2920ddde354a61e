"""The result of a benchmark, also as plain values for JSON."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

from ..runtime.cases import InputCase
from .timing import Timing

MEASUREMENT = "benchmark"
"""The one key in `Benchmark.numbers` that is not a model's name: the measurement's own."""


@dataclass(frozen=True)
class ModelResult:
    """What one model costs to run.

    Args:
        name: As given or shown.
        path: Its folder.
        facts: Name, format, backend, precision, device, patch, versions, and seconds to load it.
        patch: Latency of the network on one window, without mirroring.
        case: Latency of the case from NIfTI to NIfTI; `None` if it was not measured.
        memory_bytes: Peak of its process, including the case if that was measured.
        busy_cores: Processor seconds per second while patches were computed.
        disk_bytes: Of the files that prediction needs.
        parameters: Of the network, if known.
        flops_patch: Per patch: convolutions, two per multiply-add; if known.
    """

    name: str
    path: Path
    facts: dict[str, Any]
    patch: Timing
    case: Timing | None
    memory_bytes: int
    busy_cores: float
    disk_bytes: int
    parameters: int | None = None
    flops_patch: int | None = None

    def numbers(self, base: ModelResult, machine: dict[str, Any]) -> dict[str, Any]:
        """As plain values, compared with another model; a report reads `latency_s`, `memory_bytes`, `measured_on`."""
        case = {"latency_s": self.case.median, "cases_per_hour": 3600 / self.case.median} if self.case else {}
        if self.case and base.case:
            case |= self.case.numbers("case", base.case)
        return {
            **case,
            "memory_bytes": self.memory_bytes,
            "measured_on": self._measured_on(machine),
            "patch_latency_s": self.patch.median,
            **self.patch.numbers("patch", base.patch),
            "voxels_per_second": prod(self.facts["patch"]) / self.patch.median,
            "busy_cores": self.busy_cores,
            "disk_bytes": self.disk_bytes,
            "parameters": self.parameters,
            "flops_patch": self.flops_patch,
            "path": str(self.path),
            **self.facts,
        }

    def _measured_on(self, machine: dict[str, Any]) -> str:
        runtime, place = self.facts["backend"], self.facts["device"]
        if place == machine["processor"]:
            place = f"{machine['cores']} cores of {place}"
        return f"{place}, {runtime} {self.facts['versions'].get(runtime, '')}, {self.facts['precision']}"


@dataclass(frozen=True)
class Benchmark:
    """What was measured.

    Args:
        models: The first is what the others are compared with.
        case: The case that all models predicted.
        file_ending: Of its files.
        conditions: Machine, settings and the case.
        notes: Sentences on what limits the result.
    """

    models: tuple[ModelResult, ...]
    case: InputCase
    file_ending: str
    conditions: dict[str, Any]
    notes: tuple[str, ...] = ()

    def numbers(self) -> dict[str, Any]:
        """Everything as plain values: a key per model, as `nndistill report --benchmark` reads it, and `benchmark`."""
        base, machine = self.models[0], self.conditions["machine"]
        return {
            **{model.name: model.numbers(base, machine) for model in self.models},
            MEASUREMENT: {**self.conditions, "compared_with": base.name, "notes": list(self.notes)},
        }
