"""Predict many cases into a folder of label maps."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path

from ..errors import UnknownName, UserError
from .batch import Batch, Predictions, Progress
from .cases import InputCase
from .loading import LoadedModel
from .probabilities import PROBABILITY_FORMATS, ProbabilityFormat, check_disk
from .record import PredictionRecord, alone_in
from .settings import PredictionSettings
from .sliding_window import check_overlap


def predict_cases(
    model: LoadedModel,
    cases: Sequence[InputCase],
    output: Path,
    *,
    overlap: float | None = None,
    mirror: bool = True,
    skip_air: bool = True,
    any_orientation: bool = False,
    allow_empty_channel: bool = False,
    probabilities: Collection[ProbabilityFormat] = (),
    overwrite: bool = False,
    progress: Progress | None = None,
) -> Predictions:
    """Write one label map per case; a case that cannot be predicted is reported, and the others are predicted.

    At most three cases are in memory: one is read, one computed, one written. Every label map is complete or absent.
    Those that an earlier run with the same model and settings made of the same images are kept.

    Args:
        model: From `load_model`.
        cases: From `find_cases`.
        output: Folder for `CASE.nii.gz`, `dataset.json` and `nndistill_prediction.json`.
        overlap: Share of a window that its neighbour covers too; default: the model's.
        mirror: Average over mirrorings along the axes that the model was trained with.
        skip_air: Leave out windows that hold only background air.
        any_orientation: Predict images in another orientation than the training images', too.
        allow_empty_channel: Predict cases with channels that are all zero, too; the record has a remark.
        probabilities: Also write the probabilities of labels or regions: `"npz"` as nnU-Net does, `CASE.npz` and
            `CASE.pkl`; `"nifti"` as `probabilities/CASE.nii.gz` in `output`, with a volume per label or region.
        overwrite: Predict cases that already have a label map, too; each stays until the new one takes its place.
        progress: Receives how far the batch is.

    Raises:
        UnknownName: There is no such format of probabilities.
        UserError: Before anything is computed or removed: the overlap is below 0, or 1 or more; `output` cannot hold
            the label maps, holds some that were made otherwise, or has too little space for the probabilities. Later:
            nothing can be written there any more.

    Example:
        >>> model = load_model(export)
        >>> predictions = predict_cases(model, find_cases(images, model.description), output)
        >>> predictions.done
        ['large', 'small']
        >>> sorted(file.name for file in output.glob("*.nii.gz"))
        ['large.nii.gz', 'small.nii.gz']
    """
    if any(file.resolve().parent == output.resolve() for case in cases for file in case.files.values()):
        raise UserError(f"{output} holds the images: choose another folder for the label maps.")
    if unknown := next((name for name in probabilities if name not in PROBABILITY_FORMATS), None):
        raise UnknownName("format of probabilities", unknown, PROBABILITY_FORMATS)
    check_overlap(model.description.overlap if overlap is None else overlap)
    settings = PredictionSettings(
        overlap=model.description.overlap if overlap is None else overlap,
        mirror=mirror,
        skip_air=skip_air,
        any_orientation=any_orientation,
        allow_empty_channel=allow_empty_channel,
        probabilities=tuple(name for name in PROBABILITY_FORMATS if name in probabilities),
    )
    with alone_in(output):
        record = PredictionRecord(
            output,
            description=model.description,
            made_with=settings.made_with(model),
            cases=[case.name for case in cases],
            probabilities=settings.probabilities,
            overwrite=overwrite,
        )
        record.remove_leftovers()
        waiting = [case for case in cases if record.made(case.name) is None]
        check_disk(output, waiting, model.description, settings.probabilities)
        record.begin()
        return Batch(model, settings, record, progress).run(cases)
