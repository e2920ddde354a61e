"""The data of the HTML page's slice browser: every axial slice of a case, small enough to travel inside the page.

Slices of a channel are laid out in one picture (a sprite, WebP); label maps are bytes, compressed with zlib, which
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
from ..figures.view import AIR, Volume, choose_slice, display_window, interest

QUALITY = 75
"""Of WebP, for looking at rather than measuring."""
MARGIN = 2
"""Voxels kept around what is not air."""


def browsable_case(
    case: str,
    *,
    channels: Mapping[str, Volume],
    reference: Volume,
    predictions: Mapping[str, Volume],
    spacing: Sequence[float],
    scores: Mapping[str, str],
) -> dict[str, Any]:
    """Pack a case for the page's script.

    Args:
        case: Its name.
        channels: Intensities `(x, y, z)` (RAS) of each channel.
        reference: Labels below 256 of the same shape.
        predictions: Labels by model.
        spacing: Voxel size along x, y, z in mm.
        scores: What to write beside each model's name.

    Returns:
        JSON-ready values; pictures have the front above and the patient's right on the left.
    """
    windows = {name: display_window(volume) for name, volume in channels.items()}
    box = _inhabited(list(windows.values()), [reference, *predictions.values()])
    columns = ceil(sqrt(box[2].stop - box[2].start))
    weights = interest(reference, list(predictions.values()))
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
