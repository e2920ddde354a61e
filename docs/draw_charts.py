"""Draws the charts of the results pages from committed numbers alone; seconds on one core.

`python docs/draw_charts.py` writes them into `docs/figures`. The numbers are the tables of `docs/results/measured` and
the results of `studies/subcortical`. Every picture holds a digest of the files that it was drawn from, so that a test
notices a picture that is older than its numbers.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from functools import cache
from pathlib import Path
from statistics import mean
from typing import NamedTuple

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, NullFormatter, StrMethodFormatter

from measured_tables import FOLDER as MEASURED
from measured_tables import rows
from nndistill.files import atomic_path
from nndistill.reporting.figures.chart import chart_looks, empty_chart
from nndistill.study import load_study, study_runs
from nndistill.study.missed_labels import missed_labels
from nndistill.study.results import read_results
from nndistill.study.rows import StudyRow, study_rows

REPOSITORY = Path(__file__).parents[1]
FIGURES = Path(__file__).with_name("figures")
STUDY = REPOSITORY / "studies" / "subcortical"
DIFFERENCES, MISSED, ABLATIONS = (
    STUDY / "report" / "tables" / f"{name}.md" for name in ("differences", "missed", "ablations")
)

DARK, MIDDLE, LIGHT = "0.1", "0.5", "0.85"


class Chart(NamedTuple):
    """A picture and the files that hold its numbers."""

    draw: Callable[[], Figure]
    drawn_from: list[Path]

    def digest(self) -> str:
        """What changes with the numbers, and with nothing else."""
        digests = [hashlib.sha256(file.read_bytes()).hexdigest() for file in self.drawn_from]
        return hashlib.sha256("".join(digests).encode()).hexdigest()


def speed() -> Figure:
    """A patch, as a ratio to the teacher in PyTorch, and a whole case in seconds."""
    patches = rows("deployment-patch")
    mirrored, unmirrored = rows("deployment-case"), rows("deployment-case-unmirrored")
    with chart_looks():
        figure = empty_chart(4.2)
        patch, case = figure.subplots(2, 1)
        names = [", ".join([row["network"], row["runtime"], row["precision"]]) for row in patches]
        ratios = [float(row["speed, × teacher"]) for row in patches]
        _named_rows(patch, names)
        patch.barh(range(len(patches)), ratios, color=LIGHT, edgecolor=DARK, linewidth=0.6, height=0.6)
        for place, row in enumerate(patches):
            if row["least"]:
                patch.plot([float(row["least"]), float(row["greatest"])], [place, place], color=DARK)
            end = float(row["greatest"] or row["speed, × teacher"])
            patch.annotate(row["speed, × teacher"], (end, place), (3, 0), textcoords="offset points", va="center")
        patch.set_xlim(0, 54)
        patch.set(title="a patch", xlabel="times as fast as the teacher in PyTorch")

        heading = "command and network"
        assert [row[heading] for row in mirrored] == [row[heading] for row in unmirrored]
        _named_rows(case, [row[heading].replace("`", "") for row in mirrored])
        for content, face, label in ((mirrored, DARK, "with mirroring"), (unmirrored, "white", "without mirroring")):
            seconds = [float(row["seconds"]) for row in content]
            case.plot(seconds, range(len(content)), "o", color=DARK, markerfacecolor=face, markersize=4.5, label=label)
        _plain_logarithmic(case, [1, 3, 10, 30, 100, 300])
        case.set(title="a case, NIfTI to NIfTI", xlabel="seconds (logarithmic)")
        case.legend(loc="lower right")
    return figure


def cost_of_methods() -> Figure:
    """The time of every loss, relative to plain feature matching on the same processor."""
    earlier, later = rows("loss-costs"), rows("loss-costs-of-later-methods")
    heading = "time, × `feature`"
    titles = ("version 0.1, AVX-512", "later methods, AVX2")
    with chart_looks():
        figure = empty_chart(2.5)
        for axes, content, title in zip(figure.subplots(1, 2), (earlier, later), titles, strict=True):
            content = sorted(content, key=lambda row: float(row[heading]))
            _named_rows(axes, [row["method"].replace("`", "") for row in content])
            times = [float(row[heading]) for row in content]
            axes.barh(range(len(content)), times, color=LIGHT, edgecolor=DARK, linewidth=0.6, height=0.6)
            for place, row in enumerate(content):
                axes.annotate(
                    row[heading], (float(row[heading]), place), (3, 0), textcoords="offset points", va="center"
                )
            axes.axvline(1, color=MIDDLE, linewidth=0.8)
            axes.set_xlim(0, 4.8)
            axes.set(title=title, xlabel="time of the loss, times feature")
    return figure


def gradient_shares() -> Figure:
    """The share of the gradient at the source weight, before and after a short training."""
    content = sorted(rows("gradient-shares"), key=lambda row: float(row["share after 60 batches"]))
    with chart_looks():
        figure = empty_chart(2.6)
        axes = figure.subplots()
        weights = [row["source weight μ"].split(";")[-1].replace(" measured at ", "") for row in content]
        names = [row["method"].replace("`", "") for row in content]
        _named_rows(axes, [f"{name}, μ = {weight}" for name, weight in zip(names, weights, strict=True)])
        before = [float(row["share, untrained student"]) for row in content]
        after = [float(row["share after 60 batches"]) for row in content]
        for place, ends in enumerate(zip(before, after, strict=True)):
            axes.plot(ends, [place, place], color=MIDDLE)
        places = range(len(content))
        axes.plot(before, places, "o", color=DARK, markerfacecolor="white", markersize=4.5, label="untrained student")
        axes.plot(after, places, "o", color=DARK, markersize=4.5, label="after 60 batches")
        _plain_logarithmic(axes, [0.01, 0.1, 1, 10, 100, 1000])
        axes.set_xlim(0.005, 2000)
        for low, high in ((0.005, 0.01), (1, 2000)):
            axes.axvspan(low, high, color="0.93", zorder=0)
        axes.set_xlabel("distillation's gradient divided by the segmentation's (logarithmic)")
        axes.legend(loc="upper right")
    return figure


def dice_of_methods() -> Figure:
    """Mean of labels of every row of the study: a mark per seed, a bar for their mean."""
    scores = seeds_of_rows()
    names = sorted(scores, key=lambda name: mean(dice for dice, _ in scores[name].values()))
    folds = max(folds for seeds in scores.values() for _, folds in seeds.values())
    with chart_looks():
        figure = empty_chart(0.22 * len(names) + 0.5)
        axes = figure.subplots()
        _named_rows(axes, names, first_above=False)
        for place, name in enumerate(names):
            seeds = scores[name].values()
            middle = mean(dice for dice, _ in seeds)
            axes.plot([middle, middle], [place - 0.3, place + 0.3], color=DARK, linewidth=1.6)
            for dice, finished in seeds:
                whole = finished == folds
                axes.plot(dice, place, "o", color=DARK, markerfacecolor=DARK if whole else "white", markersize=4.5)
                if not whole:
                    axes.annotate(f"{finished} folds", (dice, place), (0, 5), textcoords="offset points", ha="center")
        axes.set_ylim(-0.6, len(names) - 0.3)
        axes.set_xlabel("Dice, mean of labels")
    return figure


def learning_curves() -> Figure:
    """Pseudo Dice in every epoch, mean over the trainings of a row; of some rows, so that lines can be told apart."""
    dashes: dict[str, str | tuple[int, tuple[int, ...]]] = {
        "Teacher": "-",
        "none, from the teacher": (0, (6, 1, 1, 1)),
        "feature": "--",
        "dist": (0, (4, 1, 1, 1, 1, 1)),
        "dcd": "-",
        "dcd, paper weight": "-.",
        "none": (0, (8, 2)),
        "logits": (0, (1, 2)),
    }
    curves = {row: curve for row, curve in curves_of_rows().items() if row in dashes}
    with chart_looks():
        figure = empty_chart(3.0)
        axes = figure.subplots()
        below = -1.0
        for name in sorted(curves, key=lambda name: curves[name][-1]):
            curve = curves[name]
            epochs = range(1, len(curve) + 1)
            axes.plot(epochs, curve, linestyle=dashes[name], color=MIDDLE if name == "Teacher" else DARK)
            below = max(curve[-1], below + 0.045)  # names do not overlap
            axes.plot([len(curve), len(curve) + 0.8], [curve[-1], below], color=MIDDLE, linewidth=0.5)
            axes.annotate(f"{name}, {curve[-1]:.3f}", (len(curve) + 1, below), va="center")
        axes.set_xlim(0, len(curve) * 1.35)
        axes.set_xticks(range(0, len(curve) + 1, 5))
        axes.set_ylim(0, None)
        axes.set(xlabel="epoch (50 batches)", ylabel="pseudo Dice (moving average)")
    return figure


def differences_of_the_study() -> Figure:
    """The Dice that each row gains over training without a teacher, from the committed table."""
    gains = [row for row in _cells(DIFFERENCES) if row[0] == "Dice"]
    with chart_looks():
        figure = empty_chart(0.22 * len(gains) + 0.6)
        axes = figure.subplots()
        for place, row in enumerate(reversed(gains)):
            difference, low, high = (float(value) for value in row[3:6])
            axes.plot([low, high], [place, place], color=MIDDLE, linewidth=2)
            axes.plot([difference], [place], "o", color=DARK, markersize=5)
        axes.set_yticks(range(len(gains)), [row[1] for row in reversed(gains)])
        axes.axvline(0, color="0.7", linewidth=0.8)
        axes.set_xlabel("Dice minus Dice of none, with 95 % interval (new patients and new seeds)")
    return figure


def found_and_outlined() -> Figure:
    """Labels that a row's trainings missed, against the Dice of those that nobody missed, from the committed table."""
    ablations = {name for name, *_ in _cells(ABLATIONS)}
    missed_by_any = pd.concat([missed_labels(row.metrics) for row in _study_rows()]).groupby("label").any()
    with chart_looks():
        figure = empty_chart(4.2)
        axes = figure.subplots()
        axes.set_xlabel(f"labels missed per training, of {len(missed_by_any)}")
        axes.set_ylabel(f"Dice of the {(~missed_by_any).sum()} labels that no training missed")
        for name, missed, _, dice, *_ in _cells(MISSED):
            if name == "Teacher":
                continue
            place = float(missed), float(dice.split()[0])
            axes.plot(*place, "o", color=DARK, markerfacecolor="white" if name in ablations else DARK, markersize=4.5)
            below = name in {"none", "dcd of the logits", "feature+dcd"}  # next to another row's mark
            beside = (5, -9) if below else (5, 2)
            colour = MIDDLE if name in ablations else DARK
            axes.annotate(name, place, beside, textcoords="offset points", color=colour)
        axes.margins(x=0.12)
        axes.invert_xaxis()
    return figure


def seeds_of_rows() -> dict[str, dict[int, tuple[float, int]]]:
    """Of each row and seed the mean of labels over the scans of all its folds, and the number of folds."""
    return {
        row.name: {seed: (dice, row.folds_of(seed)) for seed, dice in row.by_seed("dice").items()}
        for row in _study_rows()
    }


def curves_of_rows() -> dict[str, list[float]]:
    """Of each row the mean over its trainings of nnU-Net's pseudo Dice in every epoch."""
    return {row.name: list(row.curves["dice"]) for row in _study_rows()}


@cache
def _study_rows() -> list[StudyRow]:
    study = load_study(STUDY / "study.yaml")
    runs = study_runs(study, folder=STUDY)
    return study_rows(study, runs, read_results([STUDY / "results"], runs))


def _cells(table: Path) -> list[list[str]]:
    """The rows of a committed table, without its heading."""
    lines = [line for line in table.read_text(encoding="utf-8").splitlines() if line.startswith("| ")]
    return [[cell.strip().replace("−", "-") for cell in line.strip("|").split("|")] for line in lines[2:]]


def _named_rows(axes: Axes, names: list[str], *, first_above: bool = True) -> None:
    axes.set_yticks(range(len(names)), names)
    axes.tick_params(axis="y", length=0)
    if first_above:
        axes.invert_yaxis()


def _plain_logarithmic(axes: Axes, ticks: list[float]) -> None:
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(FixedLocator(ticks))
    axes.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())


_RESULTS = sorted((STUDY / "results").glob("*/*.*"))
_DEPLOYMENT = ("deployment-patch", "deployment-case", "deployment-case-unmirrored")
_COSTS = ("loss-costs", "loss-costs-of-later-methods")

CHARTS = {
    "speed": Chart(speed, [MEASURED / f"{name}.csv" for name in _DEPLOYMENT]),
    "cost-of-methods": Chart(cost_of_methods, [MEASURED / f"{name}.csv" for name in _COSTS]),
    "gradient-shares": Chart(gradient_shares, [MEASURED / "gradient-shares.csv"]),
    "dice-of-methods": Chart(dice_of_methods, _RESULTS),
    "learning-curves": Chart(learning_curves, _RESULTS),
    "differences-of-the-study": Chart(differences_of_the_study, [DIFFERENCES]),
    "found-and-outlined": Chart(found_and_outlined, [MISSED, ABLATIONS, *_RESULTS]),
}


def main() -> None:
    for name, chart in CHARTS.items():
        with atomic_path(FIGURES / f"{name}.png") as file:
            chart.draw().savefig(file, format="png", dpi=160, metadata={"Source": chart.digest()})


if __name__ == "__main__":
    main()
