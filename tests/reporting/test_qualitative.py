"""The comparison figure shows what it says, for any number of predictions and any label map."""

from __future__ import annotations

from pathlib import Path

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.image import imread

from nndistill.errors import UserError
from nndistill.reporting import draw_comparison
from nndistill.reporting.figures.chart import save_chart
from nndistill.reporting.figures.palette import VERMILLION, label_colours
from nndistill.reporting.figures.qualitative import _round_length
from nndistill.reporting.figures.view_selection import display_window

SHAPE = (24, 30, 12)
NAMES = {0: "background", 1: "core", 2: "rim"}


def shells() -> tuple[np.ndarray, np.ndarray]:
    x, y, z = np.meshgrid(*(np.arange(n) - n / 2 for n in SHAPE), indexing="ij")
    radius = np.sqrt(x**2 + y**2 + (2 * z) ** 2)
    reference = np.where(radius < 4, 1, np.where(radius < 6, 2, 0)).astype(np.uint8)
    image = np.where(radius < 11, 100.0 + 50 * reference, 0.0)
    return image, reference


def draw(path: Path, predictions: dict[str, np.ndarray], **options: object) -> None:
    image, reference = shells()
    given = {"image": image, "reference": reference, "spacing": (1.0, 1.0, 2.0), "label_names": NAMES, **options}
    figure = draw_comparison(predictions=predictions, **given)  # type: ignore[arg-type]
    save_chart(figure, path.parent, path.stem, dpi=300)


def shifted(reference: np.ndarray, voxels: int) -> np.ndarray:
    return np.roll(reference, voxels, axis=0)


@pytest.mark.parametrize("count", [1, 2, 3, 6])
def test_every_prediction_adds_a_column_of_the_same_width(tmp_path: Path, count: int) -> None:
    _, reference = shells()
    draw(tmp_path / "few.png", {"0": reference})
    draw(tmp_path / "many.png", {str(i): shifted(reference, i) for i in range(count)})
    few, many = imread(tmp_path / "few.png"), imread(tmp_path / "many.png")
    column = (many.shape[1] - few.shape[1]) / max(count - 1, 1)
    assert many.shape[1] == few.shape[1] if count == 1 else column == pytest.approx(435, abs=2)  # 1.45 inches, 300 dpi


def test_headings_scores_labels_and_marks_are_written_into_the_figure(tmp_path: Path) -> None:
    _, reference = shells()
    path = tmp_path / "figure.svg"
    scores = {"Teacher": 0.8732, "Student": float("nan")}
    draw(path, {"Teacher": reference, "Student": shifted(reference, 2)}, scores=scores, title="Case 7")
    text = path.read_text()
    for words in ("Image", "Reference", "Teacher", "Student", "Case 7", "Dice 0.873", "core", "rim", "Wrong label"):
        assert f">{words}</text>" in text
    assert text.count(">Dice ") == 1
    assert ">background</text>" not in text


def test_only_wrong_predictions_are_marked(tmp_path: Path) -> None:
    _, reference = shells()
    right, wrong = tmp_path / "right.svg", tmp_path / "wrong.svg"
    draw(right, {"a": reference, "b": reference})
    draw(wrong, {"a": reference, "b": np.zeros_like(reference)})
    assert wrong.read_text().count(VERMILLION.lower()) > right.read_text().count(VERMILLION.lower())


@pytest.mark.parametrize("empty", ["reference", "predictions", "both", "image"])
def test_empty_volumes_are_drawn(tmp_path: Path, empty: str) -> None:
    image, reference = shells()
    nothing = np.zeros_like(reference)
    prediction = nothing if empty in {"predictions", "both"} else reference
    draw(
        tmp_path / "figure.png",
        {"a": prediction, "b": prediction},
        reference=nothing if empty in {"reference", "both"} else reference,
        image=np.zeros_like(image) if empty == "image" else image,
    )
    assert (tmp_path / "figure.png").stat().st_size > 0


def test_proportions_follow_the_spacing(tmp_path: Path) -> None:
    image, reference = shells()
    draw(tmp_path / "square.png", {"a": reference}, image=np.ones_like(image), spacing=(1.0, 1.0, 1.0))
    draw(tmp_path / "tall.png", {"a": reference}, image=np.ones_like(image), spacing=(1.0, 2.0, 1.0))
    square, tall = imread(tmp_path / "square.png"), imread(tmp_path / "tall.png")
    assert tall.shape[1] == square.shape[1]
    assert tall.shape[0] > 1.5 * square.shape[0]


def test_no_global_state_is_left(tmp_path: Path) -> None:
    _, reference = shells()
    before = dict(mpl.rcParams)
    draw(tmp_path / "figure.png", {"a": reference})
    assert dict(mpl.rcParams) == before


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"predictions": {}}, "no prediction"),
        ({"reference": np.zeros((3, 3, 3), int)}, "'reference' is (3, 3, 3)"),
        ({"slice_index": 12}, "slices 0 to 11"),
        ({"zoom": 0.5}, "at least 1"),
        ({"spacing": (1.0, 1.0)}, "three axes"),
    ],
)
def test_a_mistake_of_the_caller_is_told(tmp_path: Path, options: dict[str, object], message: str) -> None:
    _, reference = shells()
    given = {"predictions": {"a": reference}, **options}
    with pytest.raises(UserError) as error:
        draw(tmp_path / "figure.png", **given)  # type: ignore[arg-type]
    assert message in str(error.value)


def test_window_spans_background_to_nearly_the_brightest_tissue() -> None:
    image = np.zeros((10, 10, 10))
    image[2:8] = 100
    image[5, 5, 5] = 1e6
    window = display_window(image)
    assert window[0, 0, 0] == 0
    assert window[3, 3, 3] == 1
    assert display_window(np.full((2, 2, 2), np.nan)).max() == 0


@pytest.mark.parametrize(("longest", "expected"), [(9.9, 5), (10, 10), (49, 20), (50, 50), (0.3, 0.2)])
def test_scale_bar_has_a_round_length(longest: float, expected: float) -> None:
    assert _round_length(longest) == pytest.approx(expected)


def test_colours_of_labels_differ_from_each_other_and_from_marks() -> None:
    colours = label_colours(range(7))
    assert set(colours) == {1, 2, 3, 4, 5, 6}
    assert len({*colours.values(), VERMILLION}) == 7
