"""A figure that compares predictions with the reference: the whole slice above, an enlarged box of it below."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import ceil, isfinite
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import LineCollection
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch, Rectangle
from matplotlib.patheffects import withStroke
from numpy.typing import NDArray

from ...errors import UserError
from ..voxel_errors import voxel_errors
from .chart import chart_looks
from .palette import GREY, INK, VERMILLION, label_colours
from .view_selection import (
    Box,
    Picture,
    Volume,
    axial_picture,
    choose_box,
    choose_slice,
    content_box,
    display_window,
    interest_weights,
)
from .voxel_outline import voxel_outline

PANEL = 1.4  # inches: width of a panel
GAP = 0.05
MARGIN = 0.06
LINE = 0.15
LEGEND = 0.34
FONT = 8.0  # points
STIPPLE = 3.0  # points: smallest distance of two marks
OPACITY = 0.55  # of the labels over the image


@dataclass(frozen=True)
class _Mark:
    name: str
    colour: str
    halo: str
    shape: str


MARKS = {
    "false_negative": _Mark("False negative", VERMILLION, "white", "o"),
    "false_positive": _Mark("False positive", "white", "black", "X"),
    "wrong_label": _Mark("Wrong label", "black", "white", "s"),
}


@dataclass(frozen=True)
class _Column:
    heading: str
    labels: Picture | None
    score: float | None = None
    is_prediction: bool = False


def draw_comparison(
    *,
    image: NDArray[Any],
    reference: NDArray[Any],
    predictions: Mapping[str, NDArray[Any]],
    label_names: Mapping[int, str],
    spacing: Sequence[float],
    title: str | None = None,
    scores: Mapping[str, float] | None = None,
    slice_index: int | None = None,
    zoom: float | None = None,
) -> Figure:
    """Draw image, reference and predictions side by side on one axial slice, and a box of it enlarged.

    The slice and the box are those in which the predictions differ most; fine structures of the reference count more
    (see `view_selection`). In the enlarged row, wrong voxels are outlined and marked. Air around the head is cut away;
    the proportions are true.

    All arrays are `(x, y, z)` as nibabel reads them, with x to the patient's right, y to the front, z to the head
    (RAS; `nibabel.as_closest_canonical` reorients other files). The patient's front is up and the patient's right is on
    the left.

    Args:
        image: Intensities of one channel, `(x, y, z)`.
        reference: Labels, integer, 0 is background, of the image's shape.
        predictions: Labels of the same shape by column heading, in the order of the columns.
        label_names: Name of each label; 0 is not shown.
        spacing: Voxel size along x, y, z in mm.
        title: Heading of the figure.
        scores: Mean Dice (0 … 1) by column heading, written below the heading.
        slice_index: Axial slice to show; default: the one on which the predictions differ most.
        zoom: How many times the box is enlarged; default: 3, or less in small images.

    Raises:
        UserError: There is no prediction, shapes differ, the slice does not exist, or the zoom is below 1.

    Example:
        >>> image = np.random.default_rng(0).random((24, 30, 12))
        >>> reference = np.zeros((24, 30, 12), np.uint8)
        >>> reference[8:16, 10:20, 3:9] = 1
        >>> figure = draw_comparison(
        ...     image=image,
        ...     reference=reference,
        ...     predictions={"Student": np.roll(reference, 1, axis=0)},
        ...     label_names={1: "tumour"},
        ...     spacing=(1.0, 1.0, 2.0),
        ... )
        >>> [text.get_text() for text in figure.texts]
        ['Image', 'Reference', 'Student']
    """
    _check(image, reference, predictions, spacing, slice_index, zoom)
    weights = interest_weights(reference, list(predictions.values()))
    index = choose_slice(weights) if slice_index is None else slice_index
    labels = {heading: axial_picture(volume, index) for heading, volume in predictions.items()}
    truth = axial_picture(reference, index)
    grey = axial_picture(display_window(image), index)

    frame = content_box(grey, [truth, *labels.values()])
    box = choose_box(frame.crop(axial_picture(weights, index)), zoom=zoom)
    columns = [
        _Column("Image", None),
        _Column("Reference", frame.crop(truth)),
        *(
            _Column(heading, frame.crop(picture), (scores or {}).get(heading), is_prediction=True)
            for heading, picture in labels.items()
        ),
    ]
    sheet = _Sheet(frame.crop(grey), columns, box, (float(spacing[1]), float(spacing[0])), label_names, title)
    with chart_looks():
        return sheet.draw()


def _check(
    image: Volume,
    reference: Volume,
    predictions: Mapping[str, Volume],
    spacing: Sequence[float],
    slice_index: int | None,
    zoom: float | None,
) -> None:
    if not predictions:
        raise UserError("there is no prediction to compare with the reference.")
    if image.ndim != 3 or len(spacing) != 3:
        raise UserError(f"image and spacing must have three axes, not {image.ndim} and {len(spacing)}.")
    for name, volume in {"reference": reference, **predictions}.items():
        if volume.shape != image.shape:
            raise UserError(f"the image is {image.shape} voxels, but {name!r} is {volume.shape}.")
    if slice_index is not None and not 0 <= slice_index < image.shape[2]:
        raise UserError(
            f"there is no axial slice {slice_index}: the image has slices 0 to {image.shape[2] - 1}.", option="slice"
        )
    if zoom is not None and not zoom >= 1:
        raise UserError(f"the zoom must be at least 1, not {zoom}.")


@dataclass(frozen=True)
class _Sheet:
    """Everything that the figure shows. Paper sizes are in inches; pictures are in mm, from the bottom left corner."""

    grey: Picture
    columns: Sequence[_Column]
    box: Box
    spacing: tuple[float, float]  # of a row and a column
    label_names: Mapping[int, str]
    title: str | None

    def draw(self) -> Figure:
        top_height = PANEL * self._height(self.grey.shape) / self._width(self.grey.shape)
        zoom_height = PANEL * self.box.height * self.spacing[0] / (self.box.width * self.spacing[1])
        width = 2 * MARGIN + len(self.columns) * (PANEL + GAP) - GAP
        lines = 1 + (1 if self._has_scores else 0) + (1.5 if self.title else 0)
        height = LEGEND + zoom_height + GAP + top_height + GAP + lines * LINE + MARGIN
        figure = Figure(figsize=(width, height))
        FigureCanvasAgg(figure)
        for number, column in enumerate(self.columns):
            left = MARGIN + number * (PANEL + GAP)
            place = _Place(figure, left, width, height)
            whole = place.axes(LEGEND + zoom_height + GAP, top_height)
            self._draw_whole(whole, column)
            self._draw_zoom(place.axes(LEGEND, zoom_height), column)
            headings = LEGEND + zoom_height + GAP + top_height + GAP
            if self._has_scores:
                place.write(headings, _score_text(column.score), size=FONT - 1, color=GREY)
                headings += LINE
            place.write(headings, column.heading, size=FONT)
            if number == 0:
                self._draw_scale(whole)
        if self.title:
            figure.text(0.5, 1 - MARGIN / height, self.title, ha="center", va="top", fontsize=FONT + 1)
        self._draw_legend(figure)
        return figure

    @property
    def _has_scores(self) -> bool:
        return any(_score_text(column.score) for column in self.columns)

    def _draw_whole(self, axes: Axes, column: _Column) -> None:
        self._show(axes, self.grey, column.labels)
        dy, dx = self.spacing
        corner = (self.box.column * dx, self.box.row * dy)
        frame = Rectangle(corner, self.box.width * dx, self.box.height * dy, fill=False, edgecolor="white")
        frame.set(linewidth=1.0, linestyle="--", path_effects=[withStroke(linewidth=2.0, foreground="#00000080")])
        axes.add_patch(frame)

    def _draw_zoom(self, axes: Axes, column: _Column) -> None:
        labels = None if column.labels is None else self.box.crop(column.labels)
        self._show(axes, self.box.crop(self.grey), labels)
        if column.is_prediction and labels is not None:
            truth = self.columns[1].labels
            assert truth is not None
            for kind, mask in voxel_errors(self.box.crop(truth), labels)._asdict().items():
                _mark(axes, mask, MARKS[kind], self.spacing)

    def _show(self, axes: Axes, grey: Picture, labels: Picture | None) -> None:
        extent = (0.0, self._width(grey.shape), 0.0, self._height(grey.shape))
        place: dict[str, Any] = {"origin": "lower", "extent": extent, "aspect": "auto"}
        axes.imshow(grey, cmap="gray", vmin=0, vmax=1, interpolation="bicubic", **place)
        if labels is not None:
            overlay = _overlay(labels, label_colours(self.label_names))
            axes.imshow(overlay, interpolation="nearest", **place)

    def _draw_scale(self, axes: Axes) -> None:
        length = _round_length(self._width(self.grey.shape) / 4)
        start = 0.04 * self._width(self.grey.shape)
        base = 0.04 * self._height(self.grey.shape)
        shadow = [withStroke(linewidth=3.0, foreground="black")]
        axes.plot([start, start + length], [base, base], color="white", linewidth=1.5, path_effects=shadow)
        shadow = [withStroke(linewidth=1.2, foreground="black")]
        axes.annotate(
            f"{length:g} mm",
            (start, base),
            xytext=(0, 3),
            textcoords="offset points",
            color="white",
            fontsize=FONT - 2,
            path_effects=shadow,
        )

    def _draw_legend(self, figure: Figure) -> None:
        pictures = [column.labels for column in self.columns if column.labels is not None]
        shown = {int(label) for picture in pictures for label in np.unique(picture)} - {0}
        colours = label_colours(self.label_names)
        entries: list[Any] = [
            Patch(facecolor=colours[label], edgecolor="none", label=self.label_names[label])
            for label in sorted(shown & set(colours))
        ]
        kinds = MARKS if len(colours) > 1 else {kind: MARKS[kind] for kind in ("false_negative", "false_positive")}
        entries += [_legend_mark(mark) for mark in kinds.values()]
        figure.legend(
            handles=entries,
            loc="lower center",
            ncols=len(entries),
            frameon=False,
            fontsize=FONT - 0.5,
            borderpad=0.3,
            handlelength=1.2,
            handletextpad=0.5,
            columnspacing=1.4,
        )

    def _height(self, shape: Sequence[int]) -> float:
        return shape[0] * self.spacing[0]

    def _width(self, shape: Sequence[int]) -> float:
        return shape[1] * self.spacing[1]


@dataclass(frozen=True)
class _Place:
    """A column of the page, in inches."""

    figure: Figure
    left: float
    page_width: float
    page_height: float

    def axes(self, bottom: float, height: float) -> Axes:
        w, h = self.page_width, self.page_height
        axes: Axes = self.figure.add_axes((self.left / w, bottom / h, PANEL / w, height / h))
        axes.set(xticks=[], yticks=[])
        axes.spines[:].set(visible=True, linewidth=0.5)
        return axes

    def write(self, bottom: float, text: str, *, size: float, color: str = INK) -> None:
        middle = (self.left + PANEL / 2) / self.page_width
        baseline = (bottom + 0.03) / self.page_height
        self.figure.text(middle, baseline, text, ha="center", va="baseline", fontsize=size, color=color)


def _score_text(score: float | None) -> str:
    return f"Dice {score:.3f}" if score is not None and isfinite(score) else ""


def _overlay(labels: Picture, colours: Mapping[int, str]) -> NDArray[np.float64]:
    picture = np.zeros((*labels.shape, 4))
    for label, colour in colours.items():
        picture[labels == label] = (*to_rgb(colour), OPACITY)
    return picture


def _mark(axes: Axes, mask: Picture, mark: _Mark, spacing: tuple[float, float]) -> None:
    """Outline a mask and put marks on its voxels, as many as there is room for."""
    if not mask.any():
        return
    segments = list(voxel_outline(mask, spacing))
    for colour, width in ((mark.halo, 1.6), (mark.colour, 0.8)):
        axes.add_collection(LineCollection(segments, colors=colour, linewidths=width, capstyle="projecting"))
    rows, columns = np.nonzero(mask)
    voxel = PANEL * 72 / mask.shape[1]  # points
    step = ceil(STIPPLE / voxel)
    chosen = (rows % step == 0) & (columns % step == 0)
    x, y = (columns[chosen] + 0.5) * spacing[1], (rows[chosen] + 0.5) * spacing[0]
    axes.plot(x, y, **_mark_style(mark, size=min(0.7 * voxel * step, 4.0)))


def _mark_style(mark: _Mark, *, size: float) -> dict[str, Any]:
    return {
        "linestyle": "none",
        "marker": mark.shape,
        "markersize": size,
        "markerfacecolor": mark.colour,
        "markeredgecolor": mark.halo,
        "markeredgewidth": 0.4,
    }


def _legend_mark(mark: _Mark) -> Line2D:
    return Line2D([], [], label=mark.name, **_mark_style(mark, size=6.0))


def _round_length(longest: float) -> float:
    """The longest of 1, 2, 5, 10, 20, 50, … mm that fits."""
    decade = 10.0 ** np.floor(np.log10(longest))
    return float(max(step * decade for step in (1, 2, 5) if step * decade <= longest))
