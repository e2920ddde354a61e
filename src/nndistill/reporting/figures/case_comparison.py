"""The comparison figure of one case of a report: its image, its reference and every model's prediction."""

from __future__ import annotations

from collections.abc import Sequence

from ...errors import UnknownName
from ..metrics import case_dice
from ..model_results import ReportedCases, ReportedModel
from ..volume import read_image, read_labels
from .drawing import Drawing
from .qualitative import draw_comparison


def draw_case(
    models: Sequence[ReportedModel],
    cases: ReportedCases,
    case: str,
    *,
    slice_index: int | None = None,
    channel: str | None = None,
    is_most_different: bool = False,
) -> Drawing:
    """Read the files of a case and draw them with `draw_comparison`.

    Args:
        models: Models with a prediction of the case.
        cases: The cases, with an image and a reference of this one.
        case: Name of the case.
        slice_index: Axial slice to show; default: the one on which the models differ most.
        channel: Channel of the image; default: the first.
        is_most_different: Whether the case was chosen because the models differ most on it; the caption says so.

    Raises:
        UserError: There is no such channel or slice, or a file is missing or damaged.
    """
    files = cases.images[case]
    if channel is not None and channel not in files:
        raise UnknownName("channel", channel, files, option="channel")
    shown = channel or next(iter(files))
    image = read_image(files[shown])
    figure = draw_comparison(
        image=image.voxels,
        reference=read_labels(cases.references[case]),
        predictions={model.name: read_labels(model.predictions[case]) for model in models},
        label_names=cases.label_names,
        spacing=image.spacing,
        title=f"{case}, {shown}" if len(files) > 1 else case,
        scores={model.name: case_dice(model.metrics, case) for model in models},
        slice_index=slice_index,
    )
    return Drawing(
        name="comparison",
        title=f"Image, reference and predictions of {case}",
        caption=f"{case}, {_choice(slice_index, is_most_different)}. Below: the dashed box enlarged, with every wrong "
        "voxel marked. Dice is the mean over all labels, in the whole case.",
        figure=figure,
        dpi=300,
    )


def _choice(slice_index: int | None, is_most_different: bool) -> str:
    """Why this case and this slice are shown."""
    if slice_index is None:
        return f"the {'case and slice' if is_most_different else 'slice'} on which the models differ most"
    return f"{'the case on which the models differ most, ' if is_most_different else ''}axial slice {slice_index}"
