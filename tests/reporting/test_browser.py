"""What the slice browser unpacks is what was packed, cut to the head and turned to the screen."""

from __future__ import annotations

import base64
import io
import zlib

import numpy as np
import pytest
from PIL import Image

from nndistill.reporting.figures.view_selection import axial_picture
from nndistill.reporting.page.browser import MARGIN, browsable_case

SHAPE = (20, 26, 9)


def unpacked(data: dict, text: str) -> np.ndarray:
    """Label pictures `(slices, rows, columns)`, as the page's script reads them."""
    raw = zlib.decompress(base64.b64decode(text))
    return np.frombuffer(raw, np.uint8).reshape(data["slices"], data["height"], data["width"])


def sprite(channel: dict) -> np.ndarray:
    kind, _, content = channel["sprite"].partition(",")
    assert kind == "data:image/webp;base64"
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(content))).convert("L"))


def pack(image: np.ndarray, reference: np.ndarray, **predictions: np.ndarray) -> dict:
    return browsable_case(
        "c",
        channels={"T1": image, "T2": image[::-1]},
        reference=reference,
        predictions=predictions,
        spacing=(1.0, 2.0, 3.0),
        scores={"a": "Dice 0.5"},
    )


@pytest.fixture
def labels() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 5, SHAPE).astype(np.int16)


def test_labels_come_back_slice_by_slice(labels: np.ndarray) -> None:
    data = pack(np.random.default_rng(1).random(SHAPE), labels, a=np.roll(labels, 1, axis=0))
    assert [layer["name"] for layer in data["layers"]] == ["Reference", "a"]
    for layer, volume in zip(data["layers"], (labels, np.roll(labels, 1, axis=0)), strict=True):
        pictures = unpacked(data, layer["labels"])
        for index, picture in enumerate(pictures):
            np.testing.assert_array_equal(picture, axial_picture(volume, index)[::-1])  # row 0 is at the screen's top
    assert data["layers"][1]["score"] == "Dice 0.5"
    assert data["aspect"] == 2.0


def test_sprite_holds_every_slice_in_its_place() -> None:
    image = np.zeros(SHAPE)
    for z in range(SHAPE[2]):
        image[2 + z : 6 + z, 5:20, z] = 1.0
    data = pack(image, (image > 0).astype(np.int16), a=(image > 0).astype(np.int16))
    sheet = sprite(data["channels"][0])
    labels = unpacked(data, data["layers"][0]["labels"])
    height, width, columns = data["height"], data["width"], data["columns"]
    for z in range(data["slices"]):
        top, left = height * (z // columns), width * (z % columns)
        tile = sheet[top : top + height, left : left + width]
        agreement = np.mean((tile > 127) == (labels[z] > 0))
        assert agreement > 0.97  # WebP is lossy


def test_air_is_cut_away_but_no_label_is() -> None:
    image, reference = np.zeros(SHAPE), np.zeros(SHAPE, np.int16)
    image[8:14, 10:16, 3:6] = 1
    outside = reference.copy()
    reference[9:12, 11:14, 4] = 1
    data = pack(image, reference, a=outside)
    assert (data["width"], data["height"]) == (8 + 2 * MARGIN, 6 + 2 * MARGIN)  # T2 is T1 mirrored in x
    assert (data["slices"], data["first"]) == (3 + 2 * MARGIN, 3 - MARGIN)
    assert data["first"] + data["start"] == 4
    outside[19, 25, 8] = 2
    data = pack(image, reference, a=outside)
    assert unpacked(data, data["layers"][1]["labels"]).sum() == 2


def test_empty_volumes_are_packed_whole() -> None:
    nothing = np.zeros(SHAPE, np.int16)
    data = pack(np.zeros(SHAPE), nothing, a=nothing)
    assert (data["width"], data["height"], data["slices"]) == SHAPE
