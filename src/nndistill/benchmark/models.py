"""Measure what models cost to run: they take turns on one case, each in a process of its own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..errors import UserError
from ..runtime.description import FILE_NAME, ModelDescription
from ..runtime.machine import describe_machine
from .candidates import Candidate
from .result import MEASUREMENT, Benchmark, ModelResult
from .timing import Timing, rounds_that_fit, without_warm_up
from .worker import MeasuredModel, Run

BUSY = 0.3
"""Load of the machine per core before the measurement above which a note is added."""
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
    fold: str | Sequence[str] | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Benchmark:
    """Measure models on a case. They take turns, so that whatever else the machine does affects all of them alike.

    A patch is computed once to warm up and then `rounds` times. The case is predicted once, which warms up, and then
    as often as `case_seconds` allows, at most `rounds` times; if it allows no second time, the first one counts.

    Args:
        candidates: At least one, from `find_candidates`.
        input: A file of a case, or a folder that holds one case only.
        rounds: How often a patch is computed.
        case: Whether the whole case is predicted too.
        case_seconds: How long all predictions of the case by one model may take; the first is always made.
        mirror: Whether the case is predicted with mirroring.
        device: As in `load_model`, for all models.
        fold: Of nnU-Net's model folders: one, or several that predict together.
        progress: Called with the number of finished computations and of all.

    Raises:
        UserError: A model or the case is missing or does not fit.
    """
    if any(candidate.name == MEASUREMENT for candidate in candidates):
        raise UserError(f"a model cannot be named {MEASUREMENT!r}: the measurement itself is reported under this name.")
    conditions = {"machine": describe_machine(), "rounds": rounds, "case_seconds": case_seconds, "mirroring": mirror}
    steps = _Steps(len(candidates) * (1 + rounds + case), progress)
    with ExitStack() as processes:
        models = [
            _ModelRuns(
                processes.enter_context(
                    MeasuredModel(
                        candidate.path,
                        input,
                        backend=candidate.backend,
                        device=device,
                        fold=None if candidate.is_export else fold,
                    )
                )
            )
            for candidate in candidates
        ]
        first = models[0].model.loaded
        conditions |= {"case": first.case.name, "case_voxels": first.case_voxels}
        _measure_patches(models, rounds, steps)
        if case:
            _measure_cases(models, rounds, case_seconds, mirror, steps)
        measured = list(zip(candidates, models, strict=True))
        results = [_result(candidate, runs, fold) for candidate, runs in measured]
    warnings = [f"{candidate.name}: {w}" for candidate, runs in measured for w in runs.model.loaded.warnings]
    return Benchmark(
        models=tuple(results),
        case=first.case,
        file_ending=first.file_ending,
        conditions=conditions,
        notes=(*_notes(conditions, case=case), *warnings),
    )


@dataclass
class _ModelRuns:
    """The runs of one model so far: of the patch, and the seconds of the case's."""

    model: MeasuredModel
    patches: list[Run] = field(default_factory=list)
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


def _measure_patches(models: Sequence[_ModelRuns], rounds: int, steps: _Steps) -> None:
    for runs in models:
        runs.model.measure_patch()
        steps.done()
    for _ in range(rounds):
        for runs in models:
            runs.patches.append(runs.model.measure_patch())
            steps.done()


def _measure_cases(models: Sequence[_ModelRuns], rounds: int, budget: float, mirror: bool, steps: _Steps) -> None:
    for runs in models:
        runs.cases.append(runs.model.measure_case(mirror=mirror).seconds)
        steps.done()
    left = [rounds_that_fit(runs.cases[0], rounds=rounds, budget=budget) for runs in models]
    steps.more(sum(left))
    for done in range(max(left)):
        for runs, count in zip(models, left, strict=True):
            if done < count:
                runs.cases.append(runs.model.measure_case(mirror=mirror).seconds)
                steps.done()


def _result(candidate: Candidate, runs: _ModelRuns, fold: str | Sequence[str] | None) -> ModelResult:
    busy = sum(run.processor_seconds for run in runs.patches) / sum(run.seconds for run in runs.patches)
    disk_bytes, parameters, flops_patch = _of_folder(candidate.path, fold)
    return ModelResult(
        name=candidate.name,
        path=candidate.path,
        facts=runs.model.loaded.facts,
        patch=Timing(tuple(run.seconds for run in runs.patches)),
        case=without_warm_up(runs.cases) if runs.cases else None,
        memory_bytes=runs.model.peak_memory(),
        busy_cores=busy,
        disk_bytes=disk_bytes,
        parameters=parameters,
        flops_patch=flops_patch,
    )


def _of_folder(path: Path, fold: str | Sequence[str] | None) -> tuple[int, int | None, int | None]:
    """Bytes of the files that prediction needs, parameters, and FLOPs per patch."""
    if (path / FILE_NAME).is_file():
        description = ModelDescription.read(path)
        files = [path / FILE_NAME, *(path / name for name in description.files if not name.endswith(".zip"))]
        return _bytes(files), description.parameters, description.flops_patch
    from ..analysis.costs import model_costs
    from ..nnunet.models.folds import checkpoints_of_folds
    from ..nnunet.models.model_folder import ModelFolder

    checkpoints = checkpoints_of_folds(ModelFolder.read(path), fold)
    files = [path / "plans.json", path / "dataset.json", *checkpoints]
    costs = model_costs(path)
    return _bytes(files), len(checkpoints) * costs["parameters"], len(checkpoints) * costs["flops_patch"]


def _bytes(files: Sequence[Path]) -> int:
    return sum(file.stat().st_size for file in files)


def _notes(conditions: dict[str, Any], *, case: bool) -> list[str]:
    machine = conditions["machine"]
    notes = []
    if machine["load_before"] > BUSY * machine["cores"]:
        notes.append(
            f"The machine was busy before the measurement began (load {machine['load_before']:.1f} on "
            f"{machine['cores']} cores): the ratios may hold, the seconds may not."
        )
    if conditions["rounds"] < ENOUGH_ROUNDS:
        notes.append(f"Fewer than {ENOUGH_ROUNDS} rounds say little about the spread.")
    if not case:
        notes.append("Memory is that of patches: no case was predicted.")
    return notes
