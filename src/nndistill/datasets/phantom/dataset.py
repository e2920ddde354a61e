"""A phantom data set on disk, in nnU-Net's raw format or as a challenge ships its data."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

from ...errors import UnknownName, UserError
from ...nnunet.data.raw_format import new_dataset_folder, write_dataset_json
from ...runtime.machine import usable_cores
from ..preparation.provenance import update_provenance
from .acquisition import CHANNELS
from .case import check_grid
from .case_files import PhantomCase
from .layouts import FOLDERS, LAYOUTS
from .tumour import LABELS

PHANTOM_VERSION = 1
"""Increase it whenever a seed gives other images, so that old cases are not taken for new ones."""


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
    """Write a phantom data set into a folder in `out`; a repeated call only makes the cases that are missing.

    A case depends on `seed`, its number, `shape` and `spacing` only. If these differ from those of an earlier call,
    its cases are replaced.

    Args:
        out: nnU-Net's raw folder, or any other.
        cases: Number of training cases, 1 or more.
        test_cases: Number of test cases, in `imagesTs` and `labelsTs`; only in the layout `nnunet`.
        seed: Decides everything that is random, 0 or more.
        shape: Voxels to the right, to the front and upwards, 32 or more each.
        spacing: Size of a voxel in mm.
        layout: `nnunet`; `brats2024`, which writes `out/BraTS2024-GLI`; or `isles2022`, which writes synthetic strokes
            to `out/ISLES-2022`.
        dataset_id: Number of the data set in nnU-Net, from 1 to 999.
        name: Name of the data set in nnU-Net, `DatasetXXX_<name>`; its cases are `<name>_0000` and `<name>_test_0000`.
        jobs: Processes to use; default: one per processor core. With 1, no other process is started.
        progress: Called with the number of finished cases and of all, for the first time before any case is made.

    Returns:
        The data set's folder.

    Raises:
        UserError: An argument is out of its range, or the folder holds something else or cannot be written.

    Example:
        >>> from pathlib import Path
        >>> from tempfile import mkdtemp
        >>> from nndistill.datasets import generate_phantom
        >>> folder = generate_phantom(Path(mkdtemp()), cases=1, shape=(32, 32, 32), spacing=(5, 5, 5), jobs=1)
        >>> folder.name, len(list((folder / "imagesTr").iterdir()))
        ('Dataset900_Phantom', 4)
    """
    if cases < 1 or test_cases < 0 or seed < 0:
        raise UserError(
            f"a phantom needs 1 case or more, 0 test cases or more and a seed of 0 or more, "
            f"not {cases}, {test_cases} and {seed}.",
            option=("cases", "test_cases", "seed"),
        )
    if jobs is not None and jobs < 1:
        raise UserError(f"a phantom is made by 1 process or more, not {jobs}.")
    check_grid(shape, spacing)
    if layout not in LAYOUTS:
        raise UnknownName("layout", layout, LAYOUTS, option="layout")
    if test_cases and layout != "nnunet":
        raise UserError(
            f"the layout {layout} has training cases only: leave out the test cases.", option=("layout", "test_cases")
        )
    folder = new_dataset_folder(out, dataset_id, name) if layout == "nnunet" else out / FOLDERS[layout]
    case_in_layout = LAYOUTS[layout]
    all_cases = [case_in_layout(folder, name, k, False, seed, shape, spacing) for k in range(cases)]
    all_cases += [case_in_layout(folder, name, k, True, seed, shape, spacing) for k in range(test_cases)]
    made_from = {
        "maker": "phantom",
        "layout": layout,
        "generation": PHANTOM_VERSION,
        "seed": seed,
        "shape": [*shape],
        "spacing": [*spacing],
    }
    report = progress or (lambda done, total: None)
    absent = set(update_provenance(folder, made_from, {path: None for case in all_cases for path in case.files}))
    missing = [case for case in all_cases if absent.intersection(case.files)]
    report(len(all_cases) - len(missing), len(all_cases))
    for left, _ in enumerate(_make_all(missing, jobs or usable_cores()), start=1 - len(missing)):
        report(len(all_cases) + left, len(all_cases))
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


def _make_all(cases: Sequence[PhantomCase], jobs: int) -> Iterator[None]:
    """Make all cases, and yield whenever one is finished."""
    if min(jobs, len(cases)) <= 1:
        for case in cases:
            yield case.make()  # type: ignore[func-returns-value]
        return
    with ProcessPoolExecutor(min(jobs, len(cases)), mp_context=multiprocessing.get_context("spawn")) as pool:
        try:
            yield from (made.result() for made in as_completed([pool.submit(case.make) for case in cases]))
        except BrokenProcessPool:
            raise UserError(
                "a process died while it made the phantom, perhaps for lack of memory: use fewer jobs."
            ) from None
        finally:
            pool.shutdown(cancel_futures=True)
