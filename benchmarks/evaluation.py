"""Dice, HD95 and NSD of a full-size case with four classes: time and memory next to DeepMind's package and MONAI.

    python benchmarks/evaluation.py                 # 182×218×182 voxels, four classes
    python benchmarks/evaluation.py --quick         # a quarter of the size along each axis, seconds
    python benchmarks/evaluation.py --together 50   # also that many such files through `evaluate_folder`

The case is a synthetic tumour of four nested classes; the prediction moves their borders by a smooth random field. The
floor is what nobody can go below: reading both label maps once for every class. Times are medians of interleaved runs
on one core, so that a busy machine slows all variants alike; ratios are medians of the ratios within a round. All
variants of one definition must give equal values, or the benchmark fails. Memory is the largest resident set of a
process of its own that measures one case, and of the processes of a whole folder (Linux only).
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table
from scipy import ndimage

from nndistill.evaluation.case import Measures, case_metrics
from nndistill.evaluation.folder import evaluate_folder
from nndistill.runtime.machine import usable_cores

SHAPE = (182, 218, 182)
SPACING = (1.0, 1.0, 1.0)
TOLERANCE = 1.0
LABELS = {"core": (1,), "edema": (2,), "enhancing": (3,), "cavity": (4,)}
AGREEMENT = {"DeepMind": 1e-6, "MONAI": 1e-4}  # MONAI interpolates the percentile in single precision

Values = dict[str, tuple[float, float, float]]
LabelMap = np.ndarray


@dataclass
class Measurement:
    """One variant."""

    variant: str
    seconds: float
    times_ours: float
    largest_difference: float | None
    megabytes: float | None


def made_up_case(shape: tuple[int, ...]) -> tuple[LabelMap, LabelMap]:
    """A reference and a prediction; the whole tumour fills about a thirtieth of the volume, as in a large glioma."""
    random = np.random.default_rng(0)

    def smooth(width: float) -> LabelMap:
        field = ndimage.gaussian_filter(random.standard_normal(shape).astype(np.float32), width * shape[0] / 182)
        return field / field.std()

    places = np.indices(shape, dtype=np.float32)
    centred = [(axis - 0.45 * size) / (0.2 * size) for axis, size in zip(places, shape, strict=True)]
    radius = np.sqrt(sum(axis**2 for axis in centred)) + 0.15 * smooth(6)
    moved = radius + 0.03 * smooth(3)
    return tuple(
        np.select([r < 0.35, r < 0.55, r < 0.7, r < 1.0], [4, 1, 3, 2], 0).astype(np.uint8) for r in (radius, moved)
    )


def with_nndistill(definition: str) -> Callable[[LabelMap, LabelMap], Values]:
    measures = Measures(LABELS, tolerance=TOLERANCE, definition=definition)

    def measure(reference: LabelMap, prediction: LabelMap) -> Values:
        found = case_metrics(reference, prediction, SPACING, measures)
        return {name: (m["dice"], m["hd95_mm"], m["nsd"]) for name, m in found.items()}

    return measure


def with_deepmind(reference: LabelMap, prediction: LabelMap) -> Values:
    import surface_distance as package

    found = {}
    for name, (value,) in LABELS.items():
        masks = reference == value, prediction == value
        distances = package.compute_surface_distances(*masks, SPACING)
        found[name] = (
            package.compute_dice_coefficient(*masks),
            package.compute_robust_hausdorff(distances, 95),
            package.compute_surface_dice_at_tolerance(distances, TOLERANCE),
        )
    return found


def with_monai(reference: LabelMap, prediction: LabelMap) -> Values:
    import torch
    from monai.metrics import compute_dice, compute_hausdorff_distance, compute_surface_dice
    from monai.networks.utils import one_hot

    maps = [one_hot(torch.from_numpy(array)[None, None].long(), len(LABELS) + 1) for array in (prediction, reference)]
    dice = compute_dice(*maps, include_background=False)[0]
    hd95 = compute_hausdorff_distance(*maps, percentile=95, spacing=SPACING)[0]
    nsd = compute_surface_dice(*maps, class_thresholds=[TOLERANCE] * len(LABELS), spacing=SPACING)[0]
    return {
        name: (float(dice[value - 1]), float(hd95[value - 1]), float(nsd[value - 1]))
        for name, (value,) in LABELS.items()
    }


def floor(reference: LabelMap, prediction: LabelMap) -> Values:
    found = {}
    for name, (value,) in LABELS.items():
        a, b = reference == value, prediction == value
        found[name] = (2 * np.count_nonzero(a & b) / (np.count_nonzero(a) + np.count_nonzero(b)), np.nan, np.nan)
    return found


VARIANTS: dict[str, Callable[[LabelMap, LabelMap], Values]] = {
    "floor: Dice alone": floor,
    "nnDistill, surface elements": with_nndistill("surface_elements"),
    "DeepMind": with_deepmind,
    "nnDistill, boundary voxels": with_nndistill("boundary_voxels"),
    "MONAI": with_monai,
}
OURS = {
    "DeepMind": "nnDistill, surface elements",
    "MONAI": "nnDistill, boundary voxels",
}


def measure_all(shape: tuple[int, ...], rounds: int, memory: bool) -> list[Measurement]:
    maps = made_up_case(shape)
    times: dict[str, list[float]] = {name: [] for name in VARIANTS}
    values: dict[str, Values] = {}
    small = made_up_case((60, 60, 60))
    for variant in VARIANTS.values():
        variant(*small)  # imports and caches
    for _ in range(rounds):
        for name, variant in VARIANTS.items():
            start = time.perf_counter()
            values[name] = variant(*maps)
            times[name].append(time.perf_counter() - start)
    measurements = []
    for name, taken in times.items():
        ours = OURS.get(name, name)
        difference = None
        if name in OURS:
            pairs = zip(values[name].values(), values[ours].values(), strict=True)
            difference = max(float(np.abs(np.subtract(a, b)).max()) for a, b in pairs)
            if difference > AGREEMENT[name]:
                raise SystemExit(f"{name} gives other values than {ours}: {values[name]} and {values[ours]}")
        measurements.append(
            Measurement(
                variant=name,
                seconds=statistics.median(taken),
                times_ours=statistics.median(t / o for t, o in zip(taken, times[ours], strict=True)),
                largest_difference=difference,
                megabytes=peak_memory(name, shape) if memory else None,
            )
        )
    return measurements


def peak_memory(variant: str, shape: tuple[int, ...]) -> float:
    """The largest resident set, in megabytes, of a process that measures one case."""
    with tempfile.NamedTemporaryFile(suffix=".npz") as file:
        reference, prediction = made_up_case(shape)
        np.savez(file, reference=reference, prediction=prediction)
        file.flush()
        command = [sys.executable, __file__, "--memory-of", variant, file.name]
        return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()[-1])


def report_memory(variant: str, file: str) -> None:
    with np.load(file) as maps:
        VARIANTS[variant](maps["reference"], maps["prediction"])
    print(peak_of("self"))


def peak_of(process: int | str) -> float:
    """The largest resident set of a running process so far, in megabytes; 0 if it has ended."""
    try:
        found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{process}/status").read_text())
    except FileNotFoundError:
        found = None
    return int(found[1]) / 1e3 if found else 0.0


def measure_folder(shape: tuple[int, ...], cases: int) -> dict[str, float]:
    """Time and memory of a folder of equal cases, with a process per core."""
    import nibabel as nib

    reference, prediction = made_up_case(shape)
    with tempfile.TemporaryDirectory() as place:
        for folder, array in (("references", reference), ("predictions", prediction)):
            first = Path(place, folder, "case000.nii.gz")
            first.parent.mkdir()
            nib.save(nib.Nifti1Image(array, np.diag([*SPACING, 1])), first)
            for k in range(1, cases):
                os.link(first, first.with_name(f"case{k:03d}.nii.gz"))
        peaks: list[float] = [0.0]

        def look(done: int, total: int) -> None:
            peaks.extend(peak_of(child.pid) for child in multiprocessing.active_children() if child.pid)

        start = time.perf_counter()
        evaluate_folder(
            Path(place, "predictions"),
            Path(place, "references"),
            labels=LABELS,
            jobs=usable_cores(),
            progress=look,
        )
        seconds = time.perf_counter() - start
    return {
        "cases": cases,
        "processes": usable_cores(),
        "seconds": seconds,
        "megabytes_a_process": max(peaks),
    }


def table(measurements: list[Measurement], shape: tuple[int, ...]) -> Table:
    view = Table("variant", title=f"{'×'.join(map(str, shape))} voxels, {len(LABELS)} classes, one core")
    for heading in ("s", "× nnDistill", "largest difference", "MB"):
        view.add_column(heading, justify="right")
    for m in measurements:
        times = f"{m.times_ours:.1f}" if m.variant in OURS else ""
        difference = "" if m.largest_difference is None else f"{m.largest_difference:.0e}"
        view.add_row(m.variant, f"{m.seconds:.2f}", times, difference, f"{m.megabytes:.0f}" if m.megabytes else "")
    return view


def one_core() -> None:
    """Keep this process and its children to one core."""
    import torch

    torch.set_num_threads(1)
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a small case")
    parser.add_argument("--rounds", type=int, default=3, help="interleaved rounds")
    parser.add_argument("--together", type=int, default=0, help="also a folder of this many cases")
    parser.add_argument("--no-memory", action="store_true", help="do not measure memory")
    parser.add_argument("--json", type=Path, help="also write the measurements to this file")
    parser.add_argument("--memory-of", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")  # the packages' own, about what SciPy and MONAI will rename
    if arguments.memory_of:
        report_memory(*arguments.memory_of)
        return
    shape = tuple(size // 4 for size in SHAPE) if arguments.quick else SHAPE
    folder = measure_folder(shape, arguments.together) if arguments.together else None  # on all cores: first
    one_core()
    measurements = measure_all(shape, arguments.rounds, memory=not arguments.no_memory and sys.platform == "linux")
    console = Console(width=100)
    console.print(table(measurements, shape))
    if folder:
        console.print(
            f"{folder['cases']} cases from files, {folder['processes']} processes: {folder['seconds']:.1f} s, "
            f"{folder['megabytes_a_process']:.0f} MB a process at most"
        )
    if arguments.json:
        content = {"shape": shape, "measurements": [asdict(m) for m in measurements], "folder": folder}
        arguments.json.write_text(json.dumps(content, indent=1))


if __name__ == "__main__":
    main()
