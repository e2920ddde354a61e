"""Measure what models cost to run: they take turns on one case, each in a process of its own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..errors import UserError
from ..runtime.cases import InputCase
from ..runtime.description import FILE_NAME, ModelDescription
from ..runtime.machine import describe_machine
from .candidates import Candidate
from .result import ABOUT, Benchmark, Costs
from .timing import Timing, rounds_that_fit, without_warm_up
from .worker import Lap, MeasuredModel

BUSY = 0.3
"""Load of the machine before the measurement, a core, above which a remark is made."""
ENOUGH_ROUNDS = 5


def benchmark(
    candidates: Sequence[Candidate],
    input: Path,
    *,
    rounds: int = 5,
    case: bool = True,
    case_seconds: float = 120.0,
    mirror: bool = True,
    device: str = "auto",
    fold: str | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Benchmark:
    """Measure models on a case. They take turns, so that whatever else the machine does falls on all alike.

    A window is computed once to warm up and then `rounds` times. The case is predicted once, which warms up, and then
    as often as `case_seconds` allow, at most `rounds` times; where they allow no second time, the first one counts.

    Args:
        candidates: At least one, as `find_candidates` gives them.
        input: A file of a case, or a folder that holds one case only.
        rounds: How often a window is computed.
        case: Whether the whole case is predicted too.
        case_seconds: How long all predictions of the case by one model may take; the first is always made.
        mirror: Whether the case is predicted with mirroring.
        device: As in `load_model`, of all models.
        fold: Of model folders of nnU-Net.
        progress: Called with the number of computations done and of all.

    Raises:
        UserError: A model or the case is not there or does not fit.
    """
    if any(candidate.name == ABOUT for candidate in candidates):
        raise UserError(
            f"no model can be named {ABOUT!r}, which is the name of what is told of the measurement itself."
        )
    about = {"machine": describe_machine(), "rounds": rounds, "case_seconds": case_seconds, "mirroring": mirror}
    steps = _Steps(len(candidates) * (1 + rounds + case), progress)
    with ExitStack() as processes:
        models = [
            _Laps(processes.enter_context(MeasuredModel(c.path, input, backend=c.backend, device=device, fold=fold)))
            for c in candidates
        ]
        found = models[0].model.case_facts
        about |= {"case": found["name"], "case_voxels": found["voxels"]}
        _measure_patches(models, rounds, steps)
        if case:
            _measure_cases(models, rounds, case_seconds, mirror, steps)
        costs = [_costs(candidate, laps, fold) for candidate, laps in zip(candidates, models, strict=True)]
    warnings = [f"{c.name}: {w}" for c, laps in zip(candidates, models, strict=True) for w in laps.model.warnings]
    files = {int(channel): Path(file) for channel, file in found["files"].items()}
    return Benchmark(
        models=tuple(costs),
        case=InputCase(found["name"], files),
        file_ending=found["file_ending"],
        about=about,
        notes=(*_remarks(about, case=case), *warnings),
    )


@dataclass
class _Laps:
    """What one model has taken so far."""

    model: MeasuredModel
    patches: list[Lap] = field(default_factory=list)
    cases: list[float] = field(default_factory=list)


class _Steps:
    """Counts computations."""

    def __init__(self, total: int, progress: Callable[[int, int], None]) -> None:
        self._done, self._total, self._progress = 0, total, progress
        progress(0, total)

    def more(self, count: int) -> None:
        self._total += count

    def done(self) -> None:
        self._done += 1
        self._progress(self._done, self._total)


def _measure_patches(models: Sequence[_Laps], rounds: int, steps: _Steps) -> None:
    for laps in models:
        laps.model.patch()
        steps.done()
    for _ in range(rounds):
        for laps in models:
            laps.patches.append(laps.model.patch())
            steps.done()


def _measure_cases(models: Sequence[_Laps], rounds: int, budget: float, mirror: bool, steps: _Steps) -> None:
    for laps in models:
        laps.cases.append(laps.model.case(mirror=mirror).seconds)
        steps.done()
    left = [rounds_that_fit(laps.cases[0], rounds=rounds, budget=budget) for laps in models]
    steps.more(sum(left))
    for done in range(max(left)):
        for laps, count in zip(models, left, strict=True):
            if done < count:
                laps.cases.append(laps.model.case(mirror=mirror).seconds)
                steps.done()


def _costs(candidate: Candidate, laps: _Laps, fold: str | None) -> Costs:
    busy = sum(lap.processor_seconds for lap in laps.patches) / sum(lap.seconds for lap in laps.patches)
    disk_bytes, parameters, flops_patch = _of_folder(candidate.path, fold)
    return Costs(
        name=candidate.name,
        path=candidate.path,
        facts=laps.model.facts,
        patch=Timing(tuple(lap.seconds for lap in laps.patches)),
        case=without_warm_up(laps.cases) if laps.cases else None,
        memory_bytes=laps.model.peak_memory(),
        busy_cores=busy,
        disk_bytes=disk_bytes,
        parameters=parameters,
        flops_patch=flops_patch,
    )


def _of_folder(path: Path, fold: str | None) -> tuple[int, int | None, int | None]:
    """Bytes of the files that prediction needs, parameters, and FLOPs of a window."""
    if (path / FILE_NAME).is_file():
        description = ModelDescription.read(path)
        files = [path / FILE_NAME, *(path / name for name in description.files if not name.endswith(".zip"))]
        return _bytes(files), description.parameters, description.flops_patch
    from ..analysis.costs import model_costs
    from ..nnunet.models.model_folder import ModelFolder

    folder = ModelFolder.read(path)
    files = [path / "plans.json", path / "dataset.json", folder.checkpoint_file(fold or folder.only_fold())]
    costs = model_costs(path)
    return _bytes(files), costs["parameters"], costs["flops_patch"]


def _bytes(files: Sequence[Path]) -> int:
    return sum(file.stat().st_size for file in files)


def _remarks(about: dict[str, Any], *, case: bool) -> list[str]:
    machine = about["machine"]
    remarks = []
    if machine["load_before"] > BUSY * machine["cores"]:
        remarks.append(
            f"The machine was busy before the measurement began (load {machine['load_before']:.1f} on "
            f"{machine['cores']} cores): ratios may stand, seconds may not."
        )
    if about["rounds"] < ENOUGH_ROUNDS:
        remarks.append(f"Fewer than {ENOUGH_ROUNDS} rounds tell little about the spread.")
    if not case:
        remarks.append("Memory is that of windows: no case was predicted.")
    return remarks
