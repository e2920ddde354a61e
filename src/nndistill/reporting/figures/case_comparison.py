"""The comparison figure of one case of a report: its image, its reference and every model's prediction."""

from __future__ import annotations

from collections.abc import Sequence

from ...errors import UnknownName
from ..label_maps import label_maps_of
from ..metrics import case_dice
from ..model_results import ReportedCases, ReportedModel
from ..volume import read_image
from .drawing import Drawing
from .qualitative import draw_comparison


def draw_case(
    models: Sequence[ReportedModel],
    cases: ReportedCases,
    case: str,
    *,
    slice_index: int | None = None,
    channel: str | None = None,
    chosen_because: str = "",
) -> Drawing:
    """Read the files of a case and draw them with `draw_comparison`.

    Args:
        models: Models with a prediction of the case.
        cases: The cases, with an image and a reference of this one.
        case: Name of the case.
        slice_index: Axial slice to show; default: the one on which the models differ most, or a single one is worst.
        channel: Channel of the image; default: the first.
        chosen_because: What the caption says of a case that was chosen by `rank_cases`.

    Raises:
        UserError: There is no such channel or slice, or a file is missing or damaged.
    """
    files = cases.images[case]
    if channel is not None and channel not in files:
        raise UnknownName("channel", channel, files, option="channel")
    shown = channel or next(iter(files))
    image = read_image(files[shown])
    reference, predictions = label_maps_of(case, models, cases)
    figure = draw_comparison(
        image=image.voxels,
        reference=reference,
        predictions=predictions,
        label_names=cases.label_names,
        spacing=image.spacing,
        title=f"{case}, {shown}" if len(files) > 1 else case,
        scores={model.name: case_dice(model.metrics, case) for model in models},
        slice_index=slice_index,
    )
    choice = ", ".join(part for part in (case, chosen_because, _slice(slice_index, models)) if part)
    return Drawing(
        name="comparison",
        title=f"Image, reference and predictions of {case}",
        caption=f"{choice}. Below: the dashed box enlarged, with every wrong voxel marked. Dice is the mean over all "
        "labels, in the whole case."
        + (" What is not annotated is shown as background." if cases.ignore is not None else ""),
        figure=figure,
        dpi=300,
    )


def _slice(slice_index: int | None, models: Sequence[ReportedModel]) -> str:
    """Which slice is shown, and why."""
    if slice_index is not None:
        return f"axial slice {slice_index}"
    return f"the slice on which {'the models differ most' if len(models) > 1 else 'most is wrong'}"
