"""What the trainings of a study take as given: refused before the first job if it is not there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import chain
from pathlib import Path

from ..errors import UserError
from ..nnunet.data.stored_folds import STOCK_FOLDS, stored_folds
from ..nnunet.models.trained_folds import trained_folds
from ..nnunet.workspace import dataset_folder, preprocessed_folder, raw_folder, results_folder
from .definition import Study


def refuse_missing_data(study: Study, *, folder: Path, workspace: Path | None = None) -> None:
    """Refuse a study whose data are not where its jobs would look for them.

    Args:
        study: The study.
        folder: Folder of its file.
        workspace: As in `nndistill distill`; default: nnU-Net's environment variables.

    Raises:
        UserError: nnU-Net's folders are not known, or there is no such data set, fold, test case, unlabelled image or
            fold of a teacher.
    """
    refuse_missing_images(study, folder=folder)
    refuse_missing_teachers(study, folder=folder)
    raw, preprocessed, _ = (place(workspace) for place in (raw_folder, preprocessed_folder, results_folder))
    if study.phantom is not None:
        return
    try:
        dataset = dataset_folder(raw, str(study.dataset))
    except UserError as error:
        raise UserError(
            f"{str(error).rstrip('.')}; to look elsewhere, name the workspace that holds it, or set nnUNet_raw.",
            option="workspace",
        ) from None
    for name in ("imagesTs", "labelsTs") if study.test == "raw" else ():
        if not (dataset / name).is_dir():
            raise UserError(f"the study reports the test cases of {dataset}, which has no folder {name}.")
    folds = stored_folds(preprocessed / dataset.name) or stored_folds(dataset)
    refuse_unknown_folds(study, dataset.name, STOCK_FOLDS if folds is None else len(folds))


def refuse_missing_images(study: Study, *, folder: Path) -> None:
    """Refuse a study with a row whose unlabelled images are not there.

    Raises:
        UserError: There is such a row.
    """
    for name, row in study.methods.items():
        if row.unlabelled and not (folder / row.unlabelled.images).is_dir():
            raise UserError(f"method {name}: there is no folder {folder / row.unlabelled.images} of unlabelled images.")


def refuse_missing_teachers(study: Study, *, folder: Path) -> None:
    """Refuse a study with a teacher that is given and was not trained in all folds that the study names.

    Raises:
        UserError: There is such a teacher.
    """
    named = _trained_folds(study)
    for name, teacher in study.teachers.items():
        if teacher.folder is None:
            continue
        trained = trained_folds(folder / teacher.folder)
        if missing := [fold for fold in named if str(fold) not in trained]:
            raise UserError(
                f"teacher {name}: {folder / teacher.folder} has no checkpoint of fold {missing[0]}, which the study "
                f"names (it has {', '.join(trained) or 'none'})."
            )


def _trained_folds(study: Study) -> list[int]:
    """The folds in which the study names networks: its students' and those that teach a row together."""
    listed = [row.teacher_fold for row in study.methods.values() if isinstance(row.teacher_fold, list)]
    return sorted({*study.folds, *chain.from_iterable(listed)})


def refuse_unknown_folds(study: Study, dataset: str, number: int) -> None:
    """Refuse a study that names a fold which a data set with this number of folds does not have.

    Raises:
        UserError: It names one.
    """
    named = {"study": study.folds, "pilot": [study.pilot.fold] if study.pilot else []}
    for what, folds in named.items():
        if missing := [fold for fold in folds if fold >= number]:
            raise UserError(f"{dataset} has {number} folds, from 0 on; the {what} names fold {missing[0]}.")


def refuse_known_test_cases(
    study: Study,
    dataset: str,
    folds: Sequence[Mapping[str, Sequence[str]]],
    patients: Mapping[str, str],
    cases: Sequence[str],
) -> None:
    """Refuse test cases that a network of the study is trained on, or whose patient it has seen in another case.

    Args:
        study: A study that reports test cases.
        dataset: Name of its data set.
        folds: The data set's folds, with `train` and `val`.
        patients: The patient of each case, where known.
        cases: The test cases.

    Raises:
        UserError: There is such a case.
    """
    out_of_fold = any(row.teacher_fold == "out-of-fold" for row in study.methods.values())
    for number in range(len(folds)) if out_of_fold else _trained_folds(study):
        seen = {patients.get(case, case) for case in folds[number]["train"]}
        if known := sorted(case for case in cases if patients.get(case, case) in seen):
            what = "is a training case" if known[0] in folds[number]["train"] else "is of a patient of the training"
            raise UserError(
                f"{len(known)} of {len(cases)} test cases are not new to the networks: {known[0]} {what} of {dataset}, "
                f"fold {number}. Name folders of other cases as `test`; if these only have the same names, rename "
                "their files."
            )


def refuse_shared_patients(
    study: Study, dataset: str, folds: Sequence[Mapping[str, Sequence[str]]], patients: Mapping[str, str]
) -> None:
    """Refuse a study that reports validation cases of patients of whom networks have seen other cases.

    Args:
        study: The study.
        dataset: Name of its data set.
        folds: The data set's folds, with `train` and `val`.
        patients: The patient of each case, where known.

    Raises:
        UserError: There is such a patient.
    """
    if study.test is not None:
        return
    for number in study.folds:
        train, val = ({patients.get(case, case) for case in folds[number][part]} for part in ("train", "val"))
        if shared := sorted(train & val):
            raise UserError(
                f"fold {number} of {dataset} trains and validates on cases of one patient, such as {shared[0]}, so "
                "the figures would be too good; make folds by patient, as `nndistill prepare` does, or report test "
                "cases."
            )
