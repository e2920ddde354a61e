"""What models were measured to cost, and the same as plain values."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

from ..runtime.cases import InputCase
from .timing import Timing

ABOUT = "benchmark"
"""Key of what is no model among `Benchmark.numbers`, so no model has this name."""


@dataclass(frozen=True)
class Costs:
    """What one model costs.

    Args:
        name: For people.
        path: Its folder.
        facts: Name, format, backend, precision, device, patch, versions, and seconds to load it.
        patch: A window of the network, without mirroring.
        case: The case from NIfTI to NIfTI; `None` if it was not measured.
        memory_bytes: Peak of its process, with the case if that was measured.
        busy_cores: Processor seconds a second while windows were computed.
        disk_bytes: Of the files that prediction needs.
        parameters: Of the network, where known.
        flops_patch: Of a window: convolutions, two a multiply-add; where known.
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

    def numbers(self, base: Costs, machine: dict[str, Any]) -> dict[str, Any]:
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
        case: What was predicted, by all.
        file_ending: Of its files.
        about: Machine, settings, and the case.
        notes: Sentences on what to keep in mind.
    """

    models: tuple[Costs, ...]
    case: InputCase
    file_ending: str
    about: dict[str, Any]
    notes: tuple[str, ...] = ()

    def numbers(self) -> dict[str, Any]:
        """Everything as plain values: a key a model, as `nndistill report --benchmark` reads it, and `benchmark`."""
        base, machine = self.models[0], self.about["machine"]
        return {
            **{costs.name: costs.numbers(base, machine) for costs in self.models},
            ABOUT: {**self.about, "compared_with": base.name, "notes": list(self.notes)},
        }
