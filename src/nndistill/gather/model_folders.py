"""Read models of nnU-Net and measure what they predicted."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from ..analysis.costs import model_costs
from ..errors import UserError
from ..evaluation.dataset_labels import ignored_value
from ..evaluation.patients import check_patients, known_patients
from ..methods.registry import title_of
from ..nnunet.data.stored_folds import stored_folds
from ..nnunet.models.history import History, read_history
from ..nnunet.models.model_folder import ModelFolder
from ..nnunet.models.trained_folds import common_folds, refuse_several_folds
from ..nnunet.training.same_setup import differ_in_seed_alone
from ..nnunet.workspace import preprocessed_folder, raw_folder
from ..reporting.model_results import Cost, ReportedCases, ReportedModel
from .case_files import images_in, images_next_to, label_names, prediction_files, training_images
from .kept_metrics import EvaluationSettings, kept_metrics
from .measured_costs import MeasuredCost, read_costs


def gather_results(
    runs: Sequence[Path],
    *,
    names: Sequence[str] = (),
    fold: str | None = None,
    predictions: Sequence[Path] = (),
    references: Path | None = None,
    images: Path | None = None,
    measured: EvaluationSettings | None = None,
    patients: Mapping[str, str] | None = None,
    benchmark: Path | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> tuple[list[ReportedModel], ReportedCases]:
    """Read models and measure what they predicted.

    Metrics are kept next to the predictions. They are measured again only if they are missing, if a prediction or a
    reference has changed, or if they were measured with other settings.

    Args:
        runs: Model folders of nnU-Net.
        names: Headings of the models, in the same order; default: method and options.
        fold: The fold of the checkpoints and validation cases; default: the only fold that all runs have.
        predictions: One folder of predictions per model, in the same order; default: those of the validation cases.
        references: Folder of the reference label maps for `predictions`.
        images: Folder of images in nnU-Net's raw format; default: those of the data set, or `imagesTs` next to
            `labelsTs`.
        measured: How to measure; default: as `nndistill evaluate` does.
        patients: The patient of each case; default: from the data set's report, where there is one.
        benchmark: File with measured `latency_s`, `memory_bytes` and `measured_on`, by name of the model or of its
            folder.
        progress: Called with the number of measured cases and of all cases, for one model after the other.

    Raises:
        UserError: A folder is missing or does not fit the others.

    Example:
        >>> models, cases = gather_results([student_folder], names=["Student"])
        >>> models[0].name, models[0].method, len(cases.references)
        ('Student', 'dcd', 1)
    """
    _check(runs, names, predictions, references)
    measured = measured or EvaluationSettings()
    raw = None
    folders = [ModelFolder.read(run) for run in runs]
    fold = fold or _common_fold(folders, predictions=bool(predictions))
    histories = [read_history(run, fold) for run in runs]
    names = list(names) or _names(runs, histories)
    dataset_json = folders[0].dataset_json
    if other := next((f for f in folders if f.dataset_json["labels"] != dataset_json["labels"]), None):
        raise UserError(f"{other.path} segments other labels than {folders[0].path}; write a report for each.")
    if predictions:
        assert references is not None
        places = list(predictions)
        images = images or images_next_to(references)
    else:
        dataset = folders[0].plans["dataset_name"]
        places = [_validation(folder, fold) for folder in folders]
        references = preprocessed_folder() / dataset / "gt_segmentations"
        raw = raw_folder() / dataset

    measured_costs = read_costs(benchmark, [*names, *(run.resolve().name for run in runs)]) if benchmark else {}
    known = known_patients([references.parent] if raw is None else [raw]) if patients is None else patients
    repeats = _repeats(names, folders, histories, fold)
    models = []
    for name, run, history, place in zip(names, runs, histories, places, strict=True):
        metrics = kept_metrics(
            place, references, dataset_json, measured, allow_missing=not predictions, progress=progress
        )
        if patients is not None:
            check_patients(patients, metrics["case"])
        if known:
            metrics = metrics.assign(patient=metrics["case"].map(dict(known)))
        costs = model_costs(run)
        timing = measured_costs.get(name) or measured_costs.get(run.resolve().name) or MeasuredCost()
        models.append(
            ReportedModel(
                name=name,
                metrics=metrics,
                role="student" if history.method else "teacher",
                predictions=prediction_files(place, map(str, metrics["case"].unique())),
                method=history.method,
                options=history.options,
                cost=Cost(
                    parameters=costs["parameters"],
                    flops_patch=costs["flops_patch"],
                    flops_case=costs["flops_case"],
                    **timing.model_dump(),
                ),
                curves=history.log,
                provenance=history.facts,
                repeats=repeats.get(name),
            )
        )
    cases = list(dict.fromkeys(case for model in models for case in model.metrics["case"]))
    return models, ReportedCases(
        references={case: references / f"{case}{dataset_json['file_ending']}" for case in cases},
        label_names=label_names(dataset_json),
        ignore=ignored_value(dataset_json),
        images=images_in(images, cases, dataset_json) if images else training_images(raw, cases) if raw else {},
        measured=measured.description,
    )


def _check(runs: Sequence[Path], names: Sequence[str], predictions: Sequence[Path], references: Path | None) -> None:
    if names and len(names) != len(runs):
        raise UserError(
            f"the number of names ({len(names)}) is not the number of models ({len(runs)}); give one name per model.",
            option="names",
        )
    if predictions and len(predictions) != len(runs):
        raise UserError(
            f"the number of folders of predictions ({len(predictions)}) is not the number of models ({len(runs)}); "
            "give one folder per model, in the same order.",
            option="predictions",
        )
    if predictions and references is None:
        raise UserError(
            "predictions were given without references: give the folder of reference label maps of the same names.",
            option="labels",
        )
    if references is not None and not predictions:
        raise UserError(
            "references were given without predictions: give both, or neither to report on a fold's validation cases.",
            option="predictions",
        )


def _common_fold(folders: Sequence[ModelFolder], *, predictions: bool) -> str:
    paths = [folder.path for folder in folders]
    refuse_several_folds(paths, predictions=predictions)
    if not (common := common_folds(paths)):
        has = "; ".join(f"{folder.path.name}: {', '.join(folder.folds) or 'none'}" for folder in folders)
        raise UserError(f"the models have no trained fold in common ({has}).")
    return common[0]


def _names(runs: Sequence[Path], histories: Sequence[History]) -> list[str]:
    """Method and the options that were given; if these names are not unique, the names of the plans."""
    names = []
    for history in histories:
        if history.method is None:
            names.append("Teacher")
            continue
        assert history.setup is not None
        assert history.setup.distillation is not None
        given = ", ".join(f"{key} {value}" for key, value in history.setup.distillation.options.items())
        names.append(title_of(history.method) + (f", {given}" if given else ""))
    if len(set(names)) == len(names):
        return names
    return [run.resolve().name.split("__")[1] if "__" in run.resolve().name else run.resolve().name for run in runs]


def _repeats(
    names: Sequence[str], folders: Sequence[ModelFolder], histories: Sequence[History], fold: str
) -> dict[str, str]:
    """By name of a student: the first one from which it differs in nothing but the seed."""
    students = [(name, each.plans) for name, each, made in zip(names, folders, histories, strict=True) if made.method]
    found = {}
    for place, (name, plans) in enumerate(students):
        if first := next((to for to, of in students[:place] if differ_in_seed_alone(of, plans, fold=fold)), None):
            found[name] = first
    return found


def _validation(folder: ModelFolder, fold: str) -> Path:
    """The folder of a fold's validation predictions, with every case of nnU-Net's split."""
    place = folder.path / f"fold_{fold}" / "validation"
    ending = folder.dataset_json["file_ending"]
    present = {file.name.removesuffix(ending) for file in place.glob(f"*{ending}")}
    folds = stored_folds(preprocessed_folder() / folder.plans["dataset_name"]) or []
    expected = folds[int(fold)]["val"] if fold.isdigit() and int(fold) < len(folds) else []
    missing = sorted(set(expected) - present)
    if missing or not present:
        what = f"lacks the validation cases {', '.join(missing[:5])}" if present else "has no validation predictions"
        raise UserError(
            f"fold {fold} of {folder.path} {what}. Resume its training, which predicts them at its end, or give "
            "predictions and references.",
            option=("predictions", "labels"),
        )
    if expected and (others := sorted(present - set(expected))):
        raise UserError(
            f"{place} has predictions of cases that fold {fold} does not validate on, such as {others[0]}: they are of "
            "another splits_final.json, and its network may have been trained on them. Move them elsewhere.",
            option=("predictions", "labels"),
        )
    return place
