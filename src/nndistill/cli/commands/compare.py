"""`nndistill compare`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ...errors import UserError
from ..options import AsJson
from ..output import print_json, show

if TYPE_CHECKING:
    import pandas as pd

    from ...evaluation.comparison import Comparison


def compare(
    base: Annotated[Path, typer.Argument(help="Metrics of the run to compare with, from nndistill evaluate.")],
    others: Annotated[list[Path], typer.Argument(help="Metrics of the other runs.")],
    metric: Annotated[str, typer.Option(help="Column to compare: dice, hd95_mm, nsd, lesion_f1, …")] = "dice",
    label: Annotated[str | None, typer.Option(help="Label to compare. Default: the means over all labels.")] = None,
    teacher: Annotated[
        Path | None, typer.Option(help="Metrics of the teacher, to show the share of its lead that a run recovers.")
    ] = None,
    protocol: Annotated[
        str | None,
        typer.Option(help="Protocol by which all files have to be measured. Default: any, if it is the same for all."),
    ] = None,
    patients: Annotated[
        Path | None,
        typer.Option(
            help="Table with the columns case and patient, or a data set's report.json. Default: the column patient of "
            "the metrics."
        ),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the bootstrap.")] = 0,
    as_json: AsJson = False,
) -> None:
    """Compare runs case by case: differences, intervals, tests, and the cases that gain and lose most."""
    from ...evaluation.comparison import compare as compare_runs
    from ...evaluation.metrics_file import common_protocol, different_settings, read_metrics
    from ...evaluation.patients import read_patients

    files = [base, *others]
    against, *names = _names(files)
    every = [*files, *([teacher] if teacher else [])]
    measured_by = common_protocol(every, protocol=protocol)
    comparison = compare_runs(
        read_metrics(base),
        dict(zip(names, map(read_metrics, others), strict=True)),
        metric=metric,
        label=label,
        teacher=None if teacher is None else read_metrics(teacher),
        patients=None if patients is None else read_patients(patients),
        seed=seed,
    )
    notes = [*different_settings(every), *comparison.notes]
    if as_json:
        print_json({"protocol": measured_by} | _plain(comparison, metric, label, notes))
        return
    better = "lower" if comparison.lower_is_better else "higher"
    what = metric if label is None else f"{metric} of {label}"
    title = f"{what} ({better} is better), against {against}"
    show(_readable(comparison.table, of_labels=label is None).T, title)
    for name in comparison.table.index:
        gains, losses = comparison.extremes(name)
        for what, cases in (("largest gains", gains), ("largest losses", losses)):
            if len(cases):
                listed = ", ".join(f"{case} {value:+.4g}" for case, value in cases.items())
                print(f"{name}: {what}: {listed}")
    if label is None:
        print("Tests, effects and the gap compare means over the labels of each case.")
    if comparison.table["patients"].lt(comparison.table["pairs"]).any():
        print("Tests and effects compare patients, each the mean of its cases; intervals draw patients.")
    print(*notes, sep="\n")
    print(
        "Intervals and p-values are about cases, or patients where they are known; another seed of the same method may "
        "differ as much."
    )


def _names(files: list[Path]) -> list[str]:
    """The shortest unique names of the files: their stems, the names of their folders, or their whole paths."""
    for choice in ([path.stem for path in files], [path.resolve().parent.name for path in files], map(str, files)):
        names = list(choice)
        if len(set(names)) == len(names):
            return names
    raise UserError("a file of metrics is given twice: compare different runs.")


def _readable(table: pd.DataFrame, *, of_labels: bool) -> pd.DataFrame:
    import pandas as pd

    def cells(column: str, form: str) -> pd.Series[str]:
        return table[column].map(lambda value: "–" if pd.isna(value) else format(value, form))

    def interval(low: str, high: str) -> pd.Series[str]:
        return cells(low, "+.4g") + " … " + cells(high, "+.4g")

    means = {
        "mean of labels, base": cells("base_of_labels", ".4g"),
        "mean of labels": cells("other_of_labels", ".4g"),
        "difference of labels": cells("difference_of_labels", "+.4g"),
        "… 95 % interval": interval("labels_ci_low", "labels_ci_high"),
    }
    return pd.DataFrame(
        {
            "pairs": table["pairs"],
            **({"patients": cells("patients", ".0f")} if table["patients"].notna().any() else {}),
            "defined in one only": table["only_base"].map(str) + " + " + table["only_other"].map(str),
            **(means if of_labels else {}),
            "mean of cases, base": cells("base", ".4g"),
            "mean of cases": cells("other", ".4g"),
            "difference": cells("difference", "+.4g"),
            "95 % interval": interval("ci_low", "ci_high"),
            "p, t-test": cells("t_p", ".3g"),
            "… Holm": cells("t_p_holm", ".3g"),
            "p, Wilcoxon": cells("wilcoxon_p", ".3g"),
            "… Holm ": cells("wilcoxon_p_holm", ".3g"),
            "effect d_z": cells("cohen_dz", "+.2f"),
            "rank-biserial": cells("rank_biserial", "+.2f"),
            "gap recovered": cells("gap_recovered", ".0%"),
        }
    )


def _plain(comparison: Comparison, metric: str, label: str | None, notes: list[str]) -> dict[str, Any]:
    """Plain values, with `None` for NaN, which JSON does not have."""
    table = comparison.table.astype(object).where(comparison.table.notna(), None)
    return {
        "metric": metric,
        "label": label,
        "lower_is_better": comparison.lower_is_better,
        "comparisons": table.to_dict(orient="index"),
        "differences": {name: comparison.differences[name].dropna().to_dict() for name in comparison.differences},
        "notes": notes,
    }
