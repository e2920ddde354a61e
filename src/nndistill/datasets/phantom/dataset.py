"""A phantom data set on disk, in nnU-Net's raw format or as a challenge ships its data."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

from ...errors import UnknownName, UserError
from ...nnunet.data.raw import dataset_folder, write_dataset_json
from ..provenance import claim
from .acquisition import CHANNELS
from .case import check_grid
from .layouts import FOLDERS, LAYOUTS
from .order import Order
from .tumour import LABELS

GENERATION = 1
"""Grows with every change of what a seed gives, so that old cases are not taken for new ones."""


def generate_phantom(
    out: Path,
    *,
    cases: int,
    test_cases: int = 0,
    seed: int = 0,
    shape: tuple[int, int, int] = (96, 112, 96),
    spacing: tuple[float, float, float] = (1.5, 1.5, 1.5),
    layout: str = "nnunet",
    dataset_id: int = 900,
    name: str = "Phantom",
    jobs: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Path:
    """Write a phantom data set below `out`; cases that are there already stay, so that a killed call can be repeated.

    A case depends on `seed`, its number, `shape` and `spacing` only. When these differ from what the folder was made
    with, its cases are made anew.

    Args:
        out: nnU-Net's raw folder, or any other.
        cases: Training cases, 1 or more.
        test_cases: Held-out cases, in `imagesTs` and `labelsTs`; none in a challenge's layout.
        seed: Decides everything that is random, 0 or more.
        shape: Voxels to the right, to the front and upwards, 32 or more each.
        spacing: Size of a voxel in mm.
        layout: `nnunet`; `brats2024` for `out/BraTS2024-GLI`; or `isles2022`, made-up strokes, for `out/ISLES-2022`.
        dataset_id: From 1 to 999, for nnU-Net.
        name: For nnU-Net, the data set is called `DatasetXXX_<name>`, its cases `<name>_0000` and `<name>_test_0000`.
        jobs: Processes to use; by default one a processor core, in this process alone when 1.
        progress: Called with the number of finished cases and of all, first before any is made.

    Returns:
        The data set's folder.

    Raises:
        UserError: An argument is out of its range, the folder holds something else, or cannot be written.
    """
    if cases < 1 or test_cases < 0 or seed < 0:
        raise UserError(
            f"a phantom needs 1 case or more, 0 test cases or more and a seed of 0 or more, "
            f"not {cases}, {test_cases} and {seed}."
        )
    if jobs is not None and jobs < 1:
        raise UserError(f"a phantom is made by 1 process or more, not {jobs}.")
    check_grid(shape, spacing)
    if layout not in LAYOUTS:
        raise UnknownName("layout", layout, LAYOUTS)
    if test_cases and layout != "nnunet":
        raise UserError(f"the layout {layout} has training cases only: leave out the test cases.")
    folder = dataset_folder(out, dataset_id, name) if layout == "nnunet" else out / FOLDERS[layout]
    make = LAYOUTS[layout]
    orders = [make(folder, name, k, False, seed, shape, spacing) for k in range(cases)]
    orders += [make(folder, name, k, True, seed, shape, spacing) for k in range(test_cases)]
    made_from = {
        "maker": "phantom",
        "layout": layout,
        "generation": GENERATION,
        "seed": seed,
        "shape": [*shape],
        "spacing": [*spacing],
    }
    report = progress or (lambda done, total: None)
    absent = set(claim(folder, made_from, {path: None for order in orders for path in order.files}))
    missing = [order for order in orders if absent.intersection(order.files)]
    report(len(orders) - len(missing), len(orders))
    for left, _ in enumerate(_made(missing, jobs or len(os.sched_getaffinity(0))), start=1 - len(missing)):
        report(len(orders) + left, len(orders))
    if layout == "nnunet":
        write_dataset_json(
            folder,
            channels=CHANNELS,
            labels=LABELS,
            training=cases,
            description="A computed phantom of brain tumour MRI, not images of a person.",
            phantom=made_from,
        )
    return folder


def _made(orders: Sequence[Order], jobs: int) -> Iterator[None]:
    """Make all cases, and tell of each when it is done."""
    if min(jobs, len(orders)) <= 1:
        for order in orders:
            yield order.make()  # type: ignore[func-returns-value]
        return
    with ProcessPoolExecutor(min(jobs, len(orders)), mp_context=multiprocessing.get_context("spawn")) as pool:
        try:
            yield from (made.result() for made in as_completed([pool.submit(order.make) for order in orders]))
        except BrokenProcessPool:
            raise UserError("a process died making the phantom, perhaps of too little memory: use fewer.") from None
        finally:
            pool.shutdown(cancel_futures=True)
