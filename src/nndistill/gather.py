"""From nnU-Net's folders to what a report takes: models with their metrics, and the cases they predicted."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from .analysis.costs import model_costs
from .errors import UserError
from .evaluation.dataset_labels import has_regions, ignored_value, labels_of
from .evaluation.folder import evaluate_folder
from .evaluation.metrics_file import read_metrics, summary_path, write_evaluation
from .evaluation.surfaces import Definition
from .files import read_json
from .methods.registry import title_of
from .nnunet.data.raw_cases import channel_names, raw_cases
from .nnunet.data.splits import stored_folds
from .nnunet.models.history import History, read_history
from .nnunet.models.model_folder import ModelFolder
from .nnunet.workspace import preprocessed_folder, raw_folder
from .reporting.model_results import Cost, ReportedCases, ReportedModel


@dataclass(frozen=True)
class Evaluated:
    """How predictions are measured; the meaning of the values is in `nndistill.evaluation.folder`."""

    tolerance: float = 1.0
    definition: Definition = "surface_elements"
    jobs: int = 1

    @property
    def words(self) -> str:
        """How to read the measures."""
        surfaces = {
            "surface_elements": "surfaces are made of elements weighted by their area (Nikolov et al., 2021)",
            "boundary_voxels": "surfaces are the voxels at a mask's border, each counting alike, as in MONAI",
        }
        return (
            "Dice: overlap of prediction and reference. HD95: the distance in mm within which 95 % of each surface "
            f"lies of the other. NSD: the share of both surfaces that lies within {self.tolerance:g} mm of the other; "
            f"{surfaces[self.definition]}. Where only one of the two is empty, Dice and NSD are 0 and HD95 is the "
            "image's diagonal; where both are, the case is left out."
        )


def gather(
    runs: Sequence[Path],
    *,
    names: Sequence[str] = (),
    fold: str | None = None,
    predictions: Sequence[Path] = (),
    references: Path | None = None,
    images: Path | None = None,
    measured: Evaluated = Evaluated(),
    benchmark: Mapping[str, Mapping[str, Any]] | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> tuple[list[ReportedModel], ReportedCases]:
    """Read models and measure what they predicted.

    Metrics are kept beside the predictions and measured again only where they are missing, older than what they were
    measured on, or measured in another way.

    Args:
        runs: Model folders of nnU-Net.
        names: Headings of the models, in their order; default: method and options.
        fold: Whose checkpoint, and whose validation cases; default: the only fold that all runs have.
        predictions: Folder of predictions of each model, in their order; default: the fold's validation cases.
        references: Folder of label maps for `predictions`.
        images: Folder of images in nnU-Net's raw format; default: that of the data set, or `imagesTs` beside
            `labelsTs`.
        measured: How to measure.
        benchmark: Measured `latency_s` and `memory_bytes`, and `measured_on`, by model name or model folder's name.
        progress: Called with the number of measured cases and of all, for one model after the other.

    Raises:
        UserError: A folder is missing or does not fit the others; one sentence says which and what to do.
    """
    _check(runs, names, predictions, references)
    raw = None
    folders = [ModelFolder.read(run) for run in runs]
    fold = fold or _common_fold(folders)
    histories = [read_history(run, fold) for run in runs]
    names = list(names) or _names(runs, histories)
    dataset_json = folders[0].dataset_json
    if other := next((f for f in folders if f.dataset_json["labels"] != dataset_json["labels"]), None):
        raise UserError(f"{other.path} segments other labels than {folders[0].path}; report on them apart.")
    if predictions:
        assert references is not None
        places = list(predictions)
        images = images or _beside(references)
    else:
        dataset = folders[0].plans["dataset_name"]
        places = [_validation(folder, fold) for folder in folders]
        references = preprocessed_folder() / dataset / "gt_segmentations"
        raw = raw_folder() / dataset

    models = []
    for name, run, history, place in zip(names, runs, histories, places, strict=True):
        metrics = _metrics(place, references, dataset_json, measured, complete=bool(predictions), progress=progress)
        costs = model_costs(run)
        timing = (benchmark or {}).get(name) or (benchmark or {}).get(run.resolve().name) or {}
        models.append(
            ReportedModel(
                name=name,
                metrics=metrics,
                role="student" if history.method else "teacher",
                predictions=_files(place, metrics),
                method=history.method,
                options=history.options,
                cost=Cost(
                    parameters=costs["parameters"],
                    flops_patch=costs["flops_patch"],
                    flops_case=costs["flops_case"],
                    **{key: timing[key] for key in ("latency_s", "memory_bytes", "measured_on") if key in timing},
                ),
                curves=history.log,
                making=history.facts,
            )
        )
    cases = list(dict.fromkeys(case for model in models for case in model.metrics["case"]))
    return models, ReportedCases(
        references={case: references / f"{case}{dataset_json['file_ending']}" for case in cases},
        label_names=_label_names(dataset_json),
        images=_images(images, cases, dataset_json) if images else _training_images(raw, cases) if raw else {},
        measured=measured.words,
    )


def _check(runs: Sequence[Path], names: Sequence[str], predictions: Sequence[Path], references: Path | None) -> None:
    if names and len(names) != len(runs):
        raise UserError(f"{len(runs)} models were given, but {len(names)} names; --names needs one a model.")
    if predictions and len(predictions) != len(runs):
        raise UserError(
            f"{len(runs)} models were given, but {len(predictions)} folders of predictions; --predictions needs one a "
            "model, in their order."
        )
    if predictions and references is None:
        raise UserError("--predictions needs --labels, the folder of reference label maps of the same names.")
    if references is not None and not predictions:
        raise UserError("--labels needs --predictions; without them a fold's validation cases are reported.")


def _common_fold(folders: Sequence[ModelFolder]) -> str:
    common = set.intersection(*(set(folder.folds) for folder in folders))
    if len(common) == 1:
        return common.pop()
    if not common:
        has = "; ".join(f"{folder.path.name}: {', '.join(folder.folds) or 'none'}" for folder in folders)
        raise UserError(f"the models have no trained fold in common ({has}).")
    raise UserError(f"all models have the folds {', '.join(sorted(common))}; choose one with --fold.")


def _names(runs: Sequence[Path], histories: Sequence[History]) -> list[str]:
    """Method and the options that were given; where that does not tell models apart, the plans' names."""
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


def _validation(folder: ModelFolder, fold: str) -> Path:
    """The folder of a fold's validation predictions, with every case that nnU-Net's split says."""
    place = folder.path / f"fold_{fold}" / "validation"
    ending = folder.dataset_json["file_ending"]
    present = {file.name.removesuffix(ending) for file in place.glob(f"*{ending}")}
    folds = stored_folds(preprocessed_folder() / folder.plans["dataset_name"]) or []
    expected = folds[int(fold)]["val"] if fold.isdigit() and int(fold) < len(folds) else []
    missing = sorted(set(expected) - present)
    if missing or not present:
        what = f"lacks the validation cases {', '.join(missing[:5])}" if present else "has no validation predictions"
        raise UserError(
            f"fold {fold} of {folder.path} {what}. Go on with its training (--resume), which ends with them, or give "
            "--predictions and --labels."
        )
    return place


def _metrics(
    place: Path,
    references: Path,
    dataset_json: Mapping[str, Any],
    measured: Evaluated,
    *,
    complete: bool,
    progress: Callable[[int, int], None],
) -> pd.DataFrame:
    labels = labels_of(dataset_json, regions=has_regions(dataset_json))
    settings = {
        "tolerance_mm": measured.tolerance,
        "definition": measured.definition,
        "empty": "diagonal",
        "values": {name: list(values) for name, values in labels.items()},
        "ignored_value": ignored_value(dataset_json),
    }
    kept = _kept(place)
    if _is_fresh(kept, place, references, dataset_json["file_ending"], settings):
        return read_metrics(kept)
    evaluation = evaluate_folder(
        place,
        references,
        labels=labels,
        tolerance=measured.tolerance,
        definition=measured.definition,
        ignore=ignored_value(dataset_json),
        jobs=measured.jobs,
        allow_missing=not complete,
        progress=progress,
    )
    write_evaluation(evaluation, kept)
    return evaluation.metrics


def _kept(place: Path) -> Path:
    """`metrics.csv`, or another name where nnU-Net has its own `summary.json`, as in a validation folder."""
    return place / ("validation_metrics.csv" if place.name == "validation" else "metrics.csv")


def _is_fresh(kept: Path, place: Path, references: Path, ending: str, settings: Mapping[str, Any]) -> bool:
    """Whether the metrics are younger than all they were measured on, and measured in the same way."""
    if not kept.is_file() or not summary_path(kept).is_file():
        return False
    summary = read_json(summary_path(kept))
    if any(summary.get(key) != value for key, value in settings.items()):
        return False
    predictions = list(place.glob(f"*{ending}"))
    if summary.get("cases") != len(predictions):
        return False
    measured_on = [*predictions, *(references / file.name for file in predictions)]
    return all(file.is_file() and file.stat().st_mtime <= kept.stat().st_mtime for file in measured_on)


def _files(place: Path, metrics: pd.DataFrame) -> dict[str, Path]:
    found = {case: next(place.glob(f"{case}.nii*")) for case in metrics["case"].unique()}
    return {str(case): path for case, path in found.items()}


def _label_names(dataset_json: Mapping[str, Any]) -> dict[int, str]:
    """Names of the values in label maps; a region's is the value that nnU-Net writes for it."""
    labels = {name: value for name, value in dataset_json["labels"].items() if name not in {"background", "ignore"}}
    if has_regions(dataset_json):
        return dict(zip(dataset_json["regions_class_order"], labels, strict=True))
    return {int(value[0] if isinstance(value, list) else value): name for name, value in labels.items()}


def _beside(references: Path) -> Path | None:
    """`imagesTs` beside `labelsTs`."""
    candidate = references.with_name(references.name.replace("labels", "images"))
    return candidate if candidate != references and candidate.is_dir() else None


def _training_images(raw: Path, cases: Sequence[str]) -> dict[str, dict[str, Path]]:
    """Channel files of training cases, which may lie anywhere."""
    if not (raw / "dataset.json").is_file():
        return {}
    names, wanted = channel_names(read_json(raw / "dataset.json")), set(cases)
    return {
        case.name: dict(zip(names, case.images, strict=True))
        for case in raw_cases(raw)
        if case.name in wanted and all(path.is_file() for path in case.images)
    }


def _images(folder: Path, cases: Sequence[str], dataset_json: Mapping[str, Any]) -> dict[str, dict[str, Path]]:
    """Channel files of the cases that have all of them."""
    names, ending = channel_names(dict(dataset_json)), dataset_json["file_ending"]
    images = {}
    for case in cases:
        files = {name: folder / f"{case}_{channel:04d}{ending}" for channel, name in enumerate(names)}
        if all(file.is_file() for file in files.values()):
            images[case] = files
    return images
