"""Metrics of a folder of predictions: kept next to the predictions, and measured again only if they have to be."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from ..evaluation.case import BothEmpty
from ..evaluation.dataset_labels import defines_regions, ignored_value
from ..evaluation.folder import evaluate_folder, recorded_settings
from ..evaluation.metrics_file import read_metrics, summary_path, write_evaluation
from ..evaluation.protocols import Protocol, protocol
from ..evaluation.surfaces import Definition
from ..files import digest, read_json


@dataclass(frozen=True)
class EvaluationSettings:
    """How predictions are measured; what is `None` is as the protocol says.

    Args:
        protocol: Name of the protocol: see `nndistill.evaluation.protocols.PROTOCOLS`.
        tolerance: Tolerance of NSD in mm.
        definition: Definition of a surface: see `nndistill.evaluation.surfaces.surface_distances`.
        both_empty: What counts if both masks are empty.
        jobs: Number of processes; it has no influence on the values.

    Example:
        >>> settings = EvaluationSettings(tolerance=2.0)
        >>> "within 2 mm of the other" in settings.description
        True
    """

    protocol: str = "default"
    tolerance: float | None = None
    definition: Definition | None = None
    both_empty: BothEmpty | None = None
    jobs: int = 1

    @property
    def resolved(self) -> Protocol:
        """The protocol with the other settings in it.

        Raises:
            UserError: There is no such protocol, or it fixes one of the other settings.
        """
        return protocol(self.protocol).changed(
            tolerance=self.tolerance, definition=self.definition, both_empty=self.both_empty
        )

    @property
    def description(self) -> str:
        """What the metrics mean under these settings, for the reader of a report."""
        return self.resolved.description


def kept_metrics(
    predictions: Path,
    references: Path,
    dataset_json: Mapping[str, Any],
    settings: EvaluationSettings,
    *,
    allow_missing: bool,
    progress: Callable[[int, int], None],
) -> pd.DataFrame:
    """Read the metrics that are kept next to predictions, or measure them and keep them there.

    They are measured again if they are missing, if they were measured with other settings, or if the content of a
    prediction or a reference has changed since: the summary next to the metrics holds the SHA-256 of all of them.

    Args:
        predictions: Folder of label maps.
        references: Folder of label maps of the same names.
        dataset_json: Content of nnU-Net's `dataset.json`.
        settings: How to measure.
        allow_missing: Whether cases that are in one folder only are left out.
        progress: Called with the number of measured cases and of all cases.

    Raises:
        UserError: The two folders do not fit together, or a file is damaged.
    """
    resolved = settings.resolved
    labels = resolved.labels(dataset_json, regions=resolved.lesion_rules is None and defines_regions(dataset_json))
    ignored = ignored_value(dataset_json)
    recorded = recorded_settings(resolved.measures(labels, ignore=ignored))
    kept = _place(predictions)
    if _is_current(kept, recorded, predictions, references, dataset_json["file_ending"]):
        return read_metrics(kept)
    evaluation = evaluate_folder(
        predictions,
        references,
        labels=labels,
        protocol=settings.protocol,
        tolerance=settings.tolerance,
        definition=settings.definition,
        both_empty=settings.both_empty,
        ignore=ignored,
        jobs=settings.jobs,
        allow_missing=allow_missing,
        progress=progress,
    )
    write_evaluation(evaluation, kept)
    return evaluation.metrics


def _place(predictions: Path) -> Path:
    """`metrics.csv`, or another name in a validation folder, where nnU-Net has a `summary.json` of its own."""
    return predictions / ("validation_metrics.csv" if predictions.name == "validation" else "metrics.csv")


def _is_current(kept: Path, recorded: Mapping[str, Any], predictions: Path, references: Path, file_ending: str) -> bool:
    """Whether the kept metrics are those of these files under these settings."""
    if not kept.is_file() or not summary_path(kept).is_file():
        return False
    summary = read_json(summary_path(kept))
    if any(summary.get(key) != value for key, value in recorded.items()):
        return False
    files = {file.name.removesuffix(file_ending): file for file in predictions.glob(f"*{file_ending}")}
    measured = summary.get("digests", {})
    if measured.keys() != files.keys() or not all((references / file.name).is_file() for file in files.values()):
        return False
    return all(
        measured[case] == {"reference": digest(references / file.name), "prediction": digest(file)}
        for case, file in files.items()
    )
