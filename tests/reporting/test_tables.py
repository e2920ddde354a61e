"""The tables hold the numbers that they name, mark the best, and are whole in every format."""

from __future__ import annotations

import io
import re
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy.stats import sem

from made_reports import OPTIONS, metrics, spread, three_models
from nndistill.errors import UserError
from nndistill.evaluation.comparison import compare
from nndistill.reporting import ReportedModel
from nndistill.reporting.metrics import DICE
from nndistill.reporting.tables.result_tables import (
    ablation_table,
    case_table,
    class_table,
    comparison_table,
    cost_table,
    overall_table,
)
from nndistill.reporting.tables.table import Cell, Column, Table

NAN = float("nan")


def student(name: str, values: dict[str, list[float]], **options: object) -> ReportedModel:
    return ReportedModel(name, metrics(values), method="dcd", options={**OPTIONS, **options})


def cell(table: Table, row: str, column: str) -> Cell:
    cells = next(cells for names, cells in table.rows if names[-1] == row)
    return cells[[f"{c.group} {c.heading}".strip() for c in table.columns].index(column)]


def bold(table: Table, column: str) -> list[str]:
    return [names[-1] for names, _ in table.rows if cell(table, names[-1], column).best]


def test_overall_is_the_mean_of_labels_and_the_mean_of_cases_is_beside_it() -> None:
    core, rim = [0.8, 0.9, 0.7, NAN], [0.5, 0.6, 0.8, 0.9]
    models = [student("a", {"core": core, "rim": rim})]
    table = overall_table(models)
    assert cell(table, "a", "Dice ↑").value == pytest.approx((0.8 + 0.7) / 2)
    assert "Mean of labels" in table.caption
    assert "1 of Dice of a" in table.caption
    of_cases = np.nanmean([core, rim], axis=0)
    table = case_table(models)
    found = cell(table, "a", "Dice ↑")
    assert found.value == pytest.approx(of_cases.mean())
    assert found.error == pytest.approx(sem(of_cases))
    assert table.columns[0].text(found) == f"{of_cases.mean():.3f} ± {sem(of_cases):.3f}"
    assert cell(table, "a", "HD95 (mm) ↓").value == pytest.approx(10 * (1 - of_cases).mean())


def test_one_overall_table_is_enough_if_both_means_agree() -> None:
    assert case_table(three_models()) is None
    assert "The mean of cases is the same" in overall_table(three_models()).caption


def test_infinite_distances_enter_no_mean() -> None:
    models = [student("a", {"core": [0.8, 0.9]})]
    models[0].metrics.loc[0, "hd95_mm"] = np.inf
    found = cell(overall_table(models), "a", "HD95 (mm) ↓")
    assert (found.value, found.count) == (pytest.approx(1.0), 1)
    assert "1 of HD95 of a" in overall_table(models).caption


def test_undefined_cases_are_left_out_and_said() -> None:
    table = class_table([student("a", {"core": [0.8, NAN, 0.6], "rim": [NAN, NAN, NAN], "cyst": [0.5, NAN, NAN]})])
    texts = table.texts.loc["a"]
    assert texts["core Dice ↑"] == f"0.700 ± {sem([0.8, 0.6]):.3f} (2)"
    assert texts["cyst Dice ↑"] == "0.500 (1)"
    assert texts["rim Dice ↑"] == "– (0)"
    assert "undefined" in table.caption
    assert "undefined" not in class_table([student("a", {"core": [0.8, 0.6]})]).caption


def test_best_is_highest_or_lowest_as_the_measure_says_and_never_the_teacher() -> None:
    models = [
        ReportedModel("teacher", metrics({"core": [0.95, 0.96]}), role="teacher"),
        student("good", {"core": [0.8, 0.9]}),
        student("poor", {"core": [0.5, 0.6]}),
    ]
    far_but_overlapping = models[1].metrics.assign(hd95_mm=50.0)
    models[1] = replace(models[1], metrics=far_but_overlapping)
    table = overall_table(models)
    assert bold(table, "Dice ↑") == ["good"]
    assert bold(table, "NSD ↑") == ["good"]
    assert bold(table, "HD95 (mm) ↓") == ["poor"]
    assert "**0.850 ± 0.050**" in table.markdown()
    assert r"\textbf{0.850 $\pm$ 0.050}" in table.latex()


def test_numbers_that_read_alike_are_both_best_but_not_a_teachers() -> None:
    models = [student("a", {"core": [0.80001, 0.8]}), student("b", {"core": [0.8, 0.8]}), student("c", {"core": [0.1]})]
    teacher = ReportedModel("teacher", models[0].metrics, role="teacher")
    assert bold(overall_table([teacher, *models]), "Dice ↑") == ["a", "b"]


def test_nothing_is_best_if_all_students_read_alike() -> None:
    models = [student("a", {"core": [0.80001, 0.8]}), student("b", {"core": [0.8, 0.8]})]
    assert bold(overall_table(models), "Dice ↑") == []


def test_nothing_is_best_without_a_choice() -> None:
    lone = [ReportedModel("teacher", spread(0.9), role="teacher"), student("only", {"core": [0.8, 0.9]})]
    undefined = [*lone, student("nothing", {"core": [NAN, NAN]})]
    for models in (lone, undefined):
        table = overall_table(models)
        assert bold(table, "Dice ↑") == []
        assert "Bold" not in table.caption


def test_csv_has_full_precision_and_reads_back() -> None:
    models = three_models()
    frame = pd.read_csv(io.StringIO(overall_table(models).csv()), index_col="Model")
    of_cases = models[1].metrics.groupby("case")["dice"].mean()
    assert frame.loc["Alone", "Dice"] == pytest.approx(of_cases.mean(), rel=1e-12)
    assert frame.loc["Alone", "Dice SEM"] == pytest.approx(sem(of_cases), rel=1e-12)
    assert frame.loc["Alone", "Dice n"] == 8


def test_costs_show_what_is_known() -> None:
    models = three_models()
    table = cost_table(models)
    assert table is not None
    assert list(table.texts.columns) == ["Parameters", "FLOPs per patch", "FLOPs per case"]
    assert table.texts.loc["Teacher", "Parameters"] == "101.945 M"
    assert models[1].cost is not None
    timed = replace(models[1], cost=replace(models[1].cost, latency_s=0.41, measured_on="2 cores"))
    table = cost_table([models[0], timed])
    assert table is not None
    assert list(table.texts["Seconds per case"]) == ["–", "0.41"]
    assert "2 cores" in table.caption
    assert cost_table([student("a", {"core": [1.0]})]) is None


def test_ablation_groups_differ_in_one_option_around_the_common_setting() -> None:
    models = [
        student("D", {"core": [0.8, 0.9]}),
        student("S", {"core": [0.6, 0.7]}, bands="S"),
        student("A", {"core": [0.7, 0.7]}, bands="A"),
        student("coefficients", {"core": [0.9, 0.9]}, domain="coefficients"),
        student("two at once", {"core": [0.9, 0.9]}, bands="S", level=1),
        ReportedModel("Alone", spread(0.7), method="none"),
    ]
    table = ablation_table(models)
    assert table is not None
    assert [tuple(names) for names, _ in table.rows] == [
        ("Bands", "D", "D"),
        ("Bands", "S", "S"),
        ("Bands", "A", "A"),
        ("Compared as", "spatial", "D"),
        ("Compared as", "coefficients", "coefficients"),
    ]
    best = [names[-1] for names, cells in table.rows if cells[0].best]
    assert best == ["D", "coefficients"]
    assert ablation_table(models[-2:]) is None
    assert ablation_table([]) is None


def test_latex_of_a_trained_phi_has_no_letter_that_it_does_not_know() -> None:
    table = ablation_table(
        [student("D", {"core": [0.8]}, train_phi=True), student("S", {"core": [0.6]}, train_phi=False)]
    )
    assert table is not None
    assert r"$\phi$ trained" in table.latex()
    assert "φ" not in table.latex()


def statistics_table(models: list[ReportedModel]) -> Table:
    base, worse = models[2], models[1]
    return comparison_table({DICE: compare(base.metrics, {worse.name: worse.metrics})}, base.name)


@pytest.mark.parametrize("make", [overall_table, class_table, cost_table, statistics_table])
def test_latex_is_balanced_and_escapes_what_users_write(make) -> None:
    models = [replace(m, name=f"{m.name} 50%_&#{{x}}~^$\\") for m in three_models()]
    models = [replace(m, metrics=m.metrics.replace({"label": {"core": "co_re & 5%"}})) for m in models]
    text = make(models).latex()
    for what in ("table", "tabular"):
        assert text.count(rf"\begin{{{what}}}") == text.count(rf"\end{{{what}}}") == 1
    assert all(rule in text for rule in (r"\toprule", r"\midrule", r"\bottomrule", r"\caption{", r"\label{tab:"))
    lines = text.splitlines()
    body = lines[lines.index(r"\toprule") + 1 : lines.index(r"\bottomrule")]
    rows = [line for line in body if line != r"\midrule"]
    columns = len(re.search(r"\\begin\{tabular\}\{([lc]+)\}", text)[1])
    for row in rows:
        assert row.endswith(r"\\")
        spans = [int(n) for n in re.findall(r"\\multicolumn\{(\d+)\}", row)]
        cells = len(re.findall(r"(?<!\\)&", row)) + 1
        assert cells + sum(spans) - len(spans) == columns
    bare = re.sub(r"\\[%&#_{}$]", "", "\n".join(rows))
    assert bare.count("{") == bare.count("}")
    assert bare.count("$") % 2 == 0
    assert not re.search(r"[%#~^±↑↓−–]", bare)
    assert "_" not in re.sub(r"\$.*?\$", "", bare)


def test_markdown_rows_have_as_many_cells_as_the_heading() -> None:
    table = class_table([replace(m, name=f"{m.name} | x") for m in three_models()])
    rows = [line for line in table.markdown().splitlines() if line.startswith("|")]
    assert len({len(re.findall(r"(?<!\\)\|", row)) for row in rows}) == 1
    assert len(rows) == 2 + 3


def test_numbers_of_a_comparison_are_those_of_the_statistics() -> None:
    _, alone, other = three_models()
    comparison = compare(alone.metrics, {other.name: other.metrics})
    table = comparison_table({DICE: comparison}, alone.name)
    assert cell(table, other.name, "Difference").value == comparison.table.loc[other.name, "difference"]
    assert cell(table, other.name, "Wilcoxon p").value == comparison.table.loc[other.name, "wilcoxon_p_holm"]
    assert "Gap recovered" not in table.texts
    assert "Difference of labels" not in table.texts
    assert cell(table, other.name, "In one only").value == "0 + 0"
    headings = [*table.stubs, *(column.heading for column in table.columns)]
    assert len(set(headings)) == len(headings)
    assert [record["Model"] for record in table.records] == [other.name]


def test_comparison_shows_the_difference_of_labels_if_it_is_another() -> None:
    base = metrics({"core": [0.8, 0.4, 0.5], "rim": [0.6, NAN, NAN]})
    other = metrics({"core": [0.8, 0.6, 0.5], "rim": [0.7, 0.5, NAN]})
    comparison = compare(base, {"o": other})
    table = comparison_table({DICE: comparison}, "base")
    assert cell(table, "o", "Difference of labels").value == comparison.table.loc["o", "difference_of_labels"]
    assert cell(table, "o", "In one only").value == "0 + 1"


def test_columns_of_words_are_written_as_they_are() -> None:
    columns = [Column("x"), Column("y", write="{:.1f}".format)]
    table = Table("t", "T", "C", ["Model"], columns, [(["a"], [Cell("w"), Cell(NAN)])])
    assert list(table.texts.loc["a"]) == ["w", "–"]
    assert table.records == [{"Model": "a", "x": "w", "y": None}]


def test_a_model_without_the_columns_of_metrics_is_refused() -> None:
    with pytest.raises(UserError, match="'a' have no column hd95_mm, nsd"):
        ReportedModel("a", pd.DataFrame({"case": ["c"], "label": ["l"], "dice": [1.0]}))


def test_the_caption_of_a_comparison_says_whether_its_tests_are_over_cases_or_patients() -> None:
    base, other = (
        metrics({"core": values}) for values in ([0.5, 0.6, 0.7, 0.6, 0.8, 0.5], [0.6, 0.6, 0.8, 0.7, 0.9, 0.7])
    )
    cases = list(base["case"])
    for patients, unit in (
        (None, "over cases"),
        ({case: f"p{number // 2}" for number, case in enumerate(cases)}, "over patients, each the mean of its cases"),
    ):
        comparison = compare(base, {"other": other}, patients=patients)
        caption = comparison_table({DICE: comparison}, "base").caption
        assert f"two-sided p-values {unit}, with" in caption
        assert ("which draws patients" in caption) == (patients is not None)
