"""The data of the HTML page's slice browser: every axial slice of a case, small enough to fit inside the page.

The slices of a channel are arranged in one picture (a sprite, WebP); label maps are bytes, compressed with zlib, which
browsers unpack themselves. Air around the head is cut away.
"""

from __future__ import annotations

import io
import zlib
from base64 import b64encode
from collections.abc import Mapping, Sequence
from math import ceil, sqrt
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow
from scipy import ndimage

from ...volumes.bounding_box import Box, bounding_box, whole_box
from ..figures.view_selection import AIR, Volume, choose_slice, display_window, interest_weights
from ..label_maps import label_maps_of
from ..metrics import DICE, case_dice
from ..model_results import ReportedCases, ReportedModel
from ..volume import read_image

MOST_CASES = 3
"""No more cases than this are put into a page."""
MOST_BYTES = 6_000_000
"""No further case is added once the data are as large as this."""
QUALITY = 75
"""Of WebP: good enough to look at, not to measure."""
MARGIN = 2
"""Voxels that are kept around everything that is not air."""


def browsable_cases(
    order: Sequence[str], models: Sequence[ReportedModel], cases: ReportedCases, *, first_channel: str | None = None
) -> list[dict[str, Any]]:
    """Pack cases for the page's script, as many of the first ones as the page has room for.

    Args:
        order: Names of cases with an image, a reference and all predictions, the most interesting one first.
        models: The models to show.
        cases: The files of the cases.
        first_channel: Name of the channel to show first.

    Raises:
        UserError: A file is missing or damaged.
    """
    browsable: list[dict[str, Any]] = []
    size = 0
    for case in order[:MOST_CASES]:
        files = sorted(cases.images[case].items(), key=lambda named: named[0] != first_channel)
        images = {name: read_image(file) for name, file in files}
        reference, predictions = label_maps_of(case, models, cases)
        data = browsable_case(
            case,
            channels={name: image.voxels for name, image in images.items()},
            reference=reference,
            predictions=predictions,
            spacing=next(iter(images.values())).spacing,
            scores={model.name: f"Dice {DICE.text(case_dice(model.metrics, case))}" for model in models},
        )
        browsable.append(data)
        size += sum(len(channel["sprite"]) for channel in data["channels"])
        if size > MOST_BYTES:
            break
    return browsable


def browsable_case(
    case: str,
    *,
    channels: Mapping[str, Volume],
    reference: Volume,
    predictions: Mapping[str, Volume],
    spacing: Sequence[float],
    scores: Mapping[str, str],
) -> dict[str, Any]:
    """Pack one case for the page's script.

    Args:
        case: Name of the case.
        channels: Intensities `(x, y, z)` (RAS) of each channel.
        reference: Labels below 256 of the same shape.
        predictions: Labels by model.
        spacing: Voxel size along x, y, z in mm.
        scores: What to write next to each model's name.

    Returns:
        Values ready for JSON; in pictures the patient's front is up and the patient's right is on the left.
    """
    windows = {name: display_window(volume) for name, volume in channels.items()}
    box = _inhabited(list(windows.values()), [reference, *predictions.values()])
    columns = ceil(sqrt(box[2].stop - box[2].start))
    weights = interest_weights(reference, list(predictions.values()))
    return {
        "case": case,
        "width": box[0].stop - box[0].start,
        "height": box[1].stop - box[1].start,
        "slices": box[2].stop - box[2].start,
        "first": box[2].start,
        "start": int(np.clip(choose_slice(weights) - box[2].start, 0, box[2].stop - box[2].start - 1)),
        "aspect": spacing[1] / spacing[0],
        "columns": columns,
        "channels": [
            {"name": name, "sprite": _sprite(_pictures(window[box]), columns)} for name, window in windows.items()
        ],
        "layers": [
            {"name": name, "score": scores.get(name, ""), "labels": _packed(_pictures(labels[box]))}
            for name, labels in {"Reference": reference, **predictions}.items()
        ],
    }


def _inhabited(windows: Sequence[NDArray[np.float64]], labels: Sequence[Volume]) -> Box:
    """Bound what is not air in any channel, and every label."""
    occupied = np.any([labelled != 0 for labelled in labels], axis=0)
    for window in windows:
        occupied |= ndimage.binary_opening(window > AIR)
    return bounding_box(occupied, margin=MARGIN) or whole_box(occupied.shape)


def _pictures(volume: Volume) -> Volume:
    """Axial slices `(z, rows, columns)`, row 0 at the top of the screen."""
    return volume[::-1, ::-1].transpose(2, 1, 0)


def _sprite(pictures: NDArray[np.float64], columns: int) -> str:
    count, height, width = pictures.shape
    rows = ceil(count / columns)
    sheet = np.zeros((rows * columns, height, width), dtype=np.uint8)
    sheet[:count] = np.round(255 * pictures)
    tiles = sheet.reshape(rows, columns, height, width).swapaxes(1, 2).reshape(rows * height, columns * width)
    file = io.BytesIO()
    Pillow.fromarray(tiles).save(file, format="WEBP", quality=QUALITY, method=4)
    return "data:image/webp;base64," + b64encode(file.getvalue()).decode()


def _packed(pictures: Volume) -> str:
    return b64encode(zlib.compress(pictures.astype(np.uint8).tobytes(), 9)).decode()
