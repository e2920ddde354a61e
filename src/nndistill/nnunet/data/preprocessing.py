"""From a raw data set to preprocessed data and plans, by stock nnU-Net; finished steps are not repeated."""

from __future__ import annotations

import inspect
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import nnunetv2
from nnunetv2.configuration import default_num_processes
from nnunetv2.experiment_planning.plan_and_preprocess_api import extract_fingerprints, plan_experiments, preprocess
from nnunetv2.utilities.find_class_by_name import recursive_find_python_class
from nnunetv2.utilities.utils import get_filenames_of_train_images_and_targets

from ...errors import UserError
from ...files import read_json
from ...suppress_output import suppress_output
from ..plans import distillable_configuration, resolved_configuration
from ..workspace import dataset_number, preprocessed_folder, raw_folder
from .case import Case
from .raw_cases import raw_cases
from .splits import adopt_split

logger = logging.getLogger(__name__)


def plan_and_preprocess(
    dataset: str, *, planner: str, processes: int = default_num_processes, configuration: str | None = None
) -> Path:
    """Extract the fingerprint, plan, and preprocess one configuration of a raw data set.

    Args:
        dataset: The data set's full name.
        planner: An experiment planner of nnU-Net, such as `ResEncUNetPlanner` or `nnUNetPlannerResEncM`.
        processes: Number of processes. Default: what nnU-Net's variable `nnUNet_def_n_proc` says, or one per core and
            at most eight.
        configuration: Name of the configuration. Default: `3d_fullres`.

    Returns:
        The plans file.

    Raises:
        UserError: The planner does not exist, it does not plan this configuration for the data set, or the folds,
            labels or channels differ from those that the data were preprocessed with.

    Example:
        >>> plan_and_preprocess(dataset, planner="ResEncUNetPlanner").name
        'nnUNetResEncUNetPlans.json'
    """
    dataset_id = dataset_number(dataset)
    folder = preprocessed_folder() / dataset
    folder.mkdir(parents=True, exist_ok=True)
    adopt_split(dataset)
    _refuse_other_labels(raw_folder() / dataset, folder)
    with suppress_output(folder / "preprocessing_log.txt"), _threads_to_plan_with(processes):
        if not (folder / "dataset_fingerprint.json").is_file():
            extract_fingerprints([dataset_id], num_processes=processes, check_dataset_integrity=True)
        plans_file = folder / f"{_plans_name(planner)}.json"
        if not plans_file.is_file():
            plan_experiments([dataset_id], planner)
        configuration = distillable_configuration(read_json(plans_file), configuration, source=str(plans_file))
        if not is_preprocessed(dataset, read_json(plans_file), configuration):
            preprocess([dataset_id], plans_file.stem, (configuration,), (processes,))
    _warn_of_newer_cases(dataset, read_json(plans_file), configuration)
    return plans_file


def is_preprocessed(dataset: str, plans: dict[str, Any], configuration: str) -> bool:
    """Return whether every training case of a raw data set has been preprocessed."""
    folder = preprocessed_folder() / dataset
    data = folder / resolved_configuration(plans, configuration)["data_identifier"]
    raw = raw_folder() / dataset
    cases = get_filenames_of_train_images_and_targets(str(raw), read_json(raw / "dataset.json"))
    return all((data / f"{case}.pkl").is_file() for case in cases) and all(
        any((folder / "gt_segmentations").glob(f"{case}.*")) for case in cases
    )


def _refuse_other_labels(raw: Path, preprocessed: Path) -> None:
    """Trainings read the `dataset.json` that was copied when the data were preprocessed."""
    copied = preprocessed / "dataset.json"
    if not copied.is_file():
        return
    before, now = read_json(copied), read_json(raw / "dataset.json")
    for key in ("labels", "regions_class_order", "channel_names"):
        if before.get(key) != now.get(key):
            raise UserError(
                f"{raw / 'dataset.json'} has other `{key}` than {copied}, with which the data were preprocessed. "
                f"Delete {preprocessed} to have them preprocessed again; models trained before keep what they learned."
            )


def _warn_of_newer_cases(dataset: str, plans: dict[str, Any], configuration: str) -> None:
    """What is preprocessed is not made again: it may be of other files, or these may only have been copied."""
    folder = preprocessed_folder() / dataset
    data: Path = folder / resolved_configuration(plans, configuration)["data_identifier"]

    def is_newer(case: Case) -> bool:
        made = data / f"{case.name}.pkl"  # not there for a label map without images, which nnU-Net passes over
        files = [file for file in (*case.images, case.label) if file and file.is_file()]
        return made.is_file() and any(file.stat().st_mtime > made.stat().st_mtime for file in files)

    newer = [case.name for case in raw_cases(raw_folder() / dataset) if is_newer(case)]
    if newer:
        logger.warning(
            "%d of the raw cases are newer than what was preprocessed of them, such as %s. If they have changed, "
            "delete %s to have them preprocessed again: trainings use what is there.",
            len(newer),
            newer[0],
            folder,
        )


@contextmanager
def _threads_to_plan_with(count: int) -> Iterator[None]:
    """Replace `nnUNet_n_proc_DA=0`, which nnU-Net's planner would use as a number of threads."""
    before = os.environ.get("nnUNet_n_proc_DA")
    os.environ["nnUNet_n_proc_DA"] = str(max(1, count))
    try:
        yield
    finally:
        if before is None:
            del os.environ["nnUNet_n_proc_DA"]
        else:
            os.environ["nnUNet_n_proc_DA"] = before


def _plans_name(planner: str) -> str:
    """The name of the plans that a planner makes by default, from its signature."""
    planners = Path(nnunetv2.__path__[0]) / "experiment_planning"
    found = recursive_find_python_class(str(planners), planner, "nnunetv2.experiment_planning")
    if found is None:
        raise UserError(
            f"nnU-Net has no experiment planner {planner!r}; it has, among others, ResEncUNetPlanner (the paper's), "
            "nnUNetPlannerResEncM and ExperimentPlanner.",
            option="planner",
        )
    return str(inspect.signature(found).parameters["plans_name"].default)
