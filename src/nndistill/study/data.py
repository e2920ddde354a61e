"""The data of a study: generated if it is a phantom, planned, preprocessed, and with the pilot's fold."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..datasets import generate_phantom
from ..datasets.preparation.splits import patient_split
from ..errors import UserError
from ..evaluation.patients import known_patients, read_patients
from ..files import read_json, write_file, write_json
from ..nnunet.data.preprocessing import plan_and_preprocess
from ..nnunet.data.raw_cases import raw_cases
from ..nnunet.data.splits import stock_split
from ..nnunet.data.stored_folds import SPLIT, stored_folds
from ..nnunet.workspace import dataset_folder, preprocessed_folder, raw_folder
from .definition import PhantomData, Pilot, Study
from .needed_data import refuse_missing_images, refuse_shared_patients, refuse_unknown_folds

PHANTOM_ID = 900
_PHANTOM = "phantom.json"


def prepare_data(study: Study, *, folder: Path) -> Path:
    """Bring the data set to where trainings find it; what is there already is kept.

    Args:
        study: The study.
        folder: Folder of its file.

    Returns:
        The plans file of the planner.

    Raises:
        UserError: There is no such data set, it does not have the folds that the study names, a fold validates on
            patients of its training, what is preprocessed is another phantom, or there are no unlabelled images where a
            row names them.
    """
    refuse_missing_images(study, folder=folder)
    if study.phantom is not None:
        _refuse_another_phantom(study.phantom)
        generate_phantom(
            raw_folder(),
            cases=study.phantom.cases,
            test_cases=study.phantom.test_cases,
            shape=study.phantom.shape,
            spacing=study.phantom.spacing,
            seed=study.phantom.seed,
            dataset_id=PHANTOM_ID,
        )
    dataset = study_dataset(study)
    plans_file = plan_and_preprocess(dataset, planner=study.planner, processes=study.resources.cpus)
    if study.phantom is not None:
        write_json(plans_file.with_name(_PHANTOM), _preprocessed_part(study.phantom))
    folds = stored_folds(preprocessed_folder() / dataset)
    patients = study_patients(study, folder=folder)
    if folds is None:
        folds = _made_folds([case.name for case in raw_cases(raw_folder() / dataset)], patients)
        _store(dataset, folds)
    own = len(folds) if study.pilot is None else pilot_fold(study, folder=folder)
    refuse_unknown_folds(study, dataset, own)
    refuse_shared_patients(study, dataset, folds, patients)
    return plans_file


def _refuse_another_phantom(phantom: PhantomData) -> None:
    """Images are not preprocessed a second time, so networks would be trained on those of the earlier phantom."""
    now = _preprocessed_part(phantom)
    for file in preprocessed_folder().glob(f"Dataset{PHANTOM_ID:03d}_*/{_PHANTOM}"):
        before = read_json(file)
        if differing := [
            f"{key} {before.get(key)}, now {value}" for key, value in now.items() if before.get(key) != value
        ]:
            raise UserError(
                f"{file.parent} holds the preprocessed images of another phantom ({'; '.join(differing)}). Delete this "
                "folder, name another workspace, or change the phantom back.",
                option="workspace",
            )


def _preprocessed_part(phantom: PhantomData) -> dict[str, Any]:
    return phantom.model_dump(mode="json", exclude={"test_cases"})


def study_dataset(study: Study) -> str:
    """The full name of the study's data set.

    Raises:
        UserError: There is no such data set in nnU-Net's raw folder.
    """
    return dataset_folder(raw_folder(), str(PHANTOM_ID if study.phantom else study.dataset)).name


def pilot_fold(study: Study, *, folder: Path) -> int:
    """Return the number of the pilot's fold, which is stored behind the data set's own folds if it is not there yet.

    Raises:
        UserError: The data set has no folds, or not the one whose training cases are split.
    """
    pilot = study.pilot
    assert pilot is not None
    dataset = study_dataset(study)
    folds = stored_folds(preprocessed_folder() / dataset) or []
    if pilot.fold >= len(folds):
        raise UserError(f"{dataset} has {len(folds)} folds, from 0 on; the pilot names fold {pilot.fold}.")
    wanted = split_again(folds[pilot.fold]["train"], pilot, study_patients(study, folder=folder))
    if wanted not in folds:
        folds.append(wanted)
        _store(dataset, folds)
    return folds.index(wanted)


def split_again(cases: Sequence[str], pilot: Pilot, patients: Mapping[str, str]) -> dict[str, list[str]]:
    """Split the training cases of a fold into cases to train on and cases to choose on, whole patients at a time.

    The same cases and patients always give the same split.

    Raises:
        UserError: There are too few patients.

    Example:
        >>> split = split_again(["a1", "a2", "b", "c"], Pilot(share=0.4), {"a1": "a", "a2": "a"})
        >>> sorted(split["train"] + split["val"])
        ['a1', 'a2', 'b', 'c']
        >>> len({"a1", "a2"} & set(split["val"])) in (0, 2)
        True
    """
    of = {case: patients.get(case, case) for case in sorted(cases)}
    order = sorted(set(of.values()))
    number = max(1, round(pilot.share * len(order)))
    if number >= len(order):
        raise UserError(f"fold {pilot.fold} has {len(order)} training patients, too few to split them for the pilot.")
    np.random.default_rng(0).shuffle(order)
    chosen = set(order[:number])
    return {
        "train": [case for case in of if of[case] not in chosen],
        "val": [case for case in of if of[case] in chosen],
    }


def study_patients(study: Study, *, folder: Path) -> dict[str, str]:
    """The patient of each case, where known."""
    if study.patients is not None:
        return read_patients(folder / study.patients)
    return known_patients([raw_folder() / study_dataset(study)])


def _made_folds(cases: Sequence[str], patients: Mapping[str, str]) -> list[dict[str, list[str]]]:
    """Stock nnU-Net's folds, or folds by patient if a patient has several cases."""
    of = {case: patients.get(case, case) for case in cases}
    if len(set(of.values())) == len(of):
        return stock_split(cases)
    if folds := patient_split(of):
        return folds
    raise UserError(
        f"the {len(of)} training cases are of {len(set(of.values()))} patients, too few for five folds by patient; put "
        "a splits_final.json of your own into the data set's folder."
    )


def _store(dataset: str, folds: Sequence[Mapping[str, Sequence[str]]]) -> None:
    write_file(preprocessed_folder() / dataset / SPLIT, json.dumps(folds, indent=4).encode())
