"""A phantom data set on disk, in nnU-Net's raw format."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ...errors import UserError
from ..claim import claim, is_complete
from ..raw import (
    dataset_folder,
    image_name,
    label_name,
    write_dataset_json,
    write_nifti,
)
from .acquisition import CHANNELS
from .case import check_grid, phantom_case, voxel_centres
from .tumour import LABELS

GENERATION = 1
"""Grows with every change of what a seed gives, so that old cases are not taken for new ones."""

LACKING = ((), (), ("RC",), ("RC",), ("NETC",), ("ET",))
"""What the tumours of six cases in a row lack, in random order: every label is in four of them or more."""


def generate_phantom(
    out: Path,
    *,
    cases: int,
    test_cases: int = 0,
    seed: int = 0,
    shape: tuple[int, int, int] = (96, 112, 96),
    spacing: tuple[float, float, float] = (1.5, 1.5, 1.5),
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
        cases: Training cases, 1 or more, in `imagesTr` and `labelsTr`.
        test_cases: Held-out cases, in `imagesTs` and `labelsTs`.
        seed: Decides everything that is random, 0 or more.
        shape: Voxels to the right, to the front and upwards, 32 or more each.
        spacing: Size of a voxel in mm.
        dataset_id: From 1 to 999.
        name: The data set is called `DatasetXXX_<name>`, its cases `<name>_0000` and `<name>_test_0000`.
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
    folder = dataset_folder(out, dataset_id, name)
    orders = [_Order(folder, name, k, False, seed, shape, spacing) for k in range(cases)]
    orders += [_Order(folder, name, k, True, seed, shape, spacing) for k in range(test_cases)]
    files = [path for order in orders for path in (*order.images, order.label)]
    provenance = {"maker": "phantom", "generation": GENERATION, "seed": seed, "shape": [*shape], "spacing": [*spacing]}
    report = progress or (lambda done, total: None)
    if is_complete(folder, files, provenance):
        report(len(orders), len(orders))
        return folder

    claim(folder, files, provenance)
    missing = [order for order in orders if not all(path.exists() for path in (*order.images, order.label))]
    report(len(orders) - len(missing), len(orders))
    for left, _ in enumerate(_made(missing, jobs or len(os.sched_getaffinity(0))), start=1 - len(missing)):
        report(len(orders) + left, len(orders))
    write_dataset_json(
        folder,
        channels=CHANNELS,
        labels=LABELS,
        training=cases,
        description="A computed phantom of brain tumour MRI, not images of a person.",
        phantom=provenance,
    )
    return folder


@dataclass(frozen=True)
class _Order:
    """One case to be made."""

    folder: Path
    dataset: str
    number: int
    held_out: bool
    seed: int
    shape: tuple[int, int, int]
    spacing: tuple[float, float, float]

    @property
    def case(self) -> str:
        return f"{self.dataset}_test_{self.number:04d}" if self.held_out else f"{self.dataset}_{self.number:04d}"

    @property
    def label(self) -> Path:
        return self.folder / ("labelsTs" if self.held_out else "labelsTr") / label_name(self.case)

    @property
    def images(self) -> list[Path]:
        folder = self.folder / ("imagesTs" if self.held_out else "imagesTr")
        return [folder / image_name(self.case, channel) for channel in range(len(CHANNELS))]

    @property
    def lacks(self) -> tuple[str, ...]:
        block, place = divmod(self.number, len(LACKING))
        order = np.random.default_rng(self._sequence(1, block)).permutation(len(LACKING))
        return LACKING[order[place]]

    def make(self) -> None:
        """Write the images and the labels."""
        sequence = self._sequence(0, self.number)
        images, labels = phantom_case(sequence, shape=self.shape, spacing=self.spacing, lacks=self.lacks)
        affine = np.diag([*self.spacing, 1.0])
        affine[:3, 3] = [axis[0] for axis in voxel_centres(self.shape, self.spacing)]
        for path, image in zip(self.images, images, strict=True):
            write_nifti(path, image.astype(np.int16), affine)
        write_nifti(self.label, labels, affine)

    def _sequence(self, purpose: int, number: int) -> np.random.SeedSequence:
        return np.random.SeedSequence(self.seed, spawn_key=(purpose, self.held_out, number))


def _made(orders: list[_Order], jobs: int) -> Iterator[None]:
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
