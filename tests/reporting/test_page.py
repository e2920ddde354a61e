"""The page is whole by itself, and works in a browser: tables sort, slices move, overlays switch."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from html import unescape
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from chromium import Page, chromium
from made_reports import three_models, with_pictures
from made_studies import made_study
from nndistill.errors import UserError
from nndistill.reporting import ReportedCases, write_report
from nndistill.reporting.figures.case_comparison import draw_case
from nndistill.reporting.figures.palette import INK
from nndistill.reporting.label_maps import label_maps_of
from nndistill.reporting.page.html_file import inline_svg
from nndistill.study import write_study_report


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory):
    folder = tmp_path_factory.mktemp("report")
    models, cases = with_pictures(folder)
    return write_report(models, cases, folder / "out", title="A <report> & more", channel="T2")


class _Reader(HTMLParser):
    """Ids, references and open elements of a page."""

    VOID = frozenset({"meta", "input", "br", "link", "img", "hr"})

    def __init__(self) -> None:
        super().__init__()
        self.ids: list[str] = []
        self.sources: list[str] = []
        self.anchors: list[str] = []
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        if tag not in self.VOID:
            self.open.append(tag)
        for key, value in attributes:
            if key == "id":
                self.ids.append(str(value))
            elif key in {"href", "xlink:href"} and str(value).startswith("#"):
                self.anchors.append(str(value)[1:])
            elif key in {"src", "href", "xlink:href"}:
                self.sources.append(str(value))

    def handle_startendtag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attributes)
        if tag not in self.VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


@pytest.fixture(scope="module")
def study_page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of a study that has all sections."""
    both = {"tables": ["overall", "ablations"]}
    study, places, _ = made_study(tmp_path_factory.mktemp("study"), seeds=[0, 1], methods={"none": both, "dcd": both})
    file = places.results / "none_f0_s0" / "metrics.csv"
    metrics = pd.read_csv(file)
    metrics.assign(dice=metrics["dice"].where(metrics["label"] != "rim", 0)).to_csv(file, index=False)
    report = write_study_report(study, places)
    assert {"ablations", "missed", "costs"} <= set(report.tables)
    return report.page


@pytest.mark.parametrize("of", ["models", "study"])
def test_page_is_well_formed_and_holds_all_it_refers_to(made, study_page: Path, of: str) -> None:
    html = (made.page if of == "models" else study_page).read_text()
    reader = _Reader()
    reader.feed(html)
    assert reader.open == []
    assert [name for name in set(reader.ids) if reader.ids.count(name) > 1] == []
    assert set(reader.anchors) <= set(reader.ids)
    assert all(source.startswith("data:") for source in reader.sources)
    assert not re.search(r'url\((?!#)|@import|src="http', html)
    assert INK not in html.split("</style>")[1]


def test_what_users_write_is_text_and_not_markup(made) -> None:
    html = made.page.read_text()
    assert "<title>A &lt;report&gt; &amp; more</title>" in html
    assert "DCD <b>" not in html
    assert "DCD &lt;b&gt;" in html
    data = json.loads(re.search(r'id="browser-data">(.*?)</script>', html, re.DOTALL)[1])
    assert data["cases"][0]["layers"][3]["name"] == "DCD <b>"


def test_report_writes_every_table_and_figure(made) -> None:
    folder = made.page.parent
    names = {str(file.relative_to(folder)) for file in folder.rglob("*") if file.is_file()}
    tables = {"overall", "classes", "comparison", "costs", "cases"}
    figures = {"comparison", "dice", "hd95_mm", "nsd", "differences", "training"}
    expected = {f"tables/{t}.{e}" for t in tables for e in ("md", "tex", "csv")}
    expected |= {f"figures/{f}.{e}" for f in figures for e in ("pdf", "svg", "png")}
    assert names == expected | {"report.html"}
    assert {str(file.relative_to(folder)) for file in made.files} == expected
    json.dumps(made.numbers, allow_nan=False)
    assert made.baseline == "Alone"


def test_measures_that_a_protocol_does_not_have_are_no_reason_to_fail(tmp_path: Path) -> None:
    models = [
        replace(model, metrics=model.metrics.assign(hd95_mm=float("nan"), nsd=float("nan"))) for model in three_models()
    ]
    made = write_report(models, ReportedCases({}, {1: "core"}), tmp_path)
    assert set(made.comparisons) == {"dice"}
    assert "The teacher reaches Dice 0.892 ± 0.006." in made.page.read_text()
    json.dumps(made.numbers, allow_nan=False)


def test_without_images_and_other_models_the_page_has_neither_pictures_nor_statistics(tmp_path: Path) -> None:
    made = write_report(three_models()[1:2], ReportedCases({}, {1: "core"}), tmp_path)
    html = made.page.read_text()
    assert "Pictures" not in html
    assert "Statistics" not in html
    assert made.comparisons == {}
    assert made.case is None


def test_drawn_case_is_where_the_students_differ_most_unless_one_is_asked_for(tmp_path: Path, made) -> None:
    models, cases = with_pictures(tmp_path)
    spreads = {
        case: max(means) - min(means)
        for case in cases.references
        if (means := [m.metrics[m.metrics["case"] == case]["dice"].mean() for m in models[1:]])
    }
    assert made.case == max(spreads, key=spreads.__getitem__)
    other = min(spreads, key=spreads.__getitem__)
    again = write_report(models, cases, tmp_path / "other", case=other, slice_index=5)
    assert again.case == other
    assert f"{other}, T1" in (tmp_path / "other" / "figures" / "comparison.svg").read_text()


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({}, "the slice on which the models differ most"),
        ({"chosen_because": "the worst case"}, "the worst case, the slice on which the models differ most"),
        ({"slice_index": 5}, "axial slice 5"),
        ({"slice_index": 5, "chosen_because": "the worst case"}, "the worst case, axial slice 5"),
    ],
)
def test_caption_says_why_this_case_and_slice_are_shown(tmp_path: Path, options, reason) -> None:
    drawing = draw_case(*with_pictures(tmp_path), "case_1", **options)
    assert drawing.title == "Image, reference and predictions of case_1"
    assert drawing.caption.startswith(f"case_1, {reason}. Below: the dashed box enlarged")


@pytest.mark.parametrize(
    ("chosen", "reason"),
    [
        ([0, 1, 2], "the case on which the students differ most, the slice on which the models differ most"),
        ([0, 1], "the case on which the models differ most, the slice on which the models differ most"),
        ([1], "the case with the lowest Dice, the slice on which most is wrong"),
    ],
)
def test_the_drawn_case_is_explained(tmp_path: Path, chosen, reason) -> None:
    models, cases = with_pictures(tmp_path)
    made = write_report([models[number] for number in chosen], cases, tmp_path / "out")
    assert f"{made.case}, {reason}." in unescape(made.page.read_text())


def test_what_is_not_annotated_is_not_shown_as_wrong(tmp_path: Path) -> None:
    models, cases = with_pictures(tmp_path)
    whole, all_found = label_maps_of("case_0", models, cases)
    reference, found = label_maps_of("case_0", models, replace(cases, ignore=2))
    np.testing.assert_array_equal(reference, np.where(whole == 2, 0, whole))
    for name, labels in all_found.items():
        np.testing.assert_array_equal(found[name], np.where(whole == 2, 0, labels))
        assert (labels[whole == 2] != 0).any()
    caption = draw_case(models, replace(cases, ignore=2), "case_0").caption
    assert caption.endswith("What is not annotated is shown as background.")


def test_tables_and_figures_that_a_report_no_longer_has_are_deleted(tmp_path: Path) -> None:
    models, cases = with_pictures(tmp_path)
    out = tmp_path / "out"
    write_report(models, cases, out)
    (out / "notes.txt").touch()
    assert (out / "tables" / "comparison.tex").exists()
    write_report(models[1:2], ReportedCases({}, {1: "core"}), out)
    names = {file.stem for file in out.rglob("*") if file.is_file()}
    assert not names & {"comparison", "differences"}
    assert {"notes", "overall", "dice"} <= names


def test_every_figure_and_table_on_the_page_has_its_caption(made) -> None:
    html = unescape(made.page.read_text())
    captions = [text.strip() for text in re.findall(r"<figcaption>(.*?)</figcaption>", html, re.DOTALL)]
    assert {table.caption for table in made.tables.values()} < set(captions)
    titles = re.findall(r'role="img" aria-label="(.*?)"', html)
    assert titles == [
        "Differences from Alone, case by case",
        f"Image, reference and predictions of {made.case}",
        "Dice of every case",
        "HD95 of every case",
        "NSD of every case",
        "Training curves",
    ]
    assert len(captions) == len(titles) + len(made.tables)
    assert all(captions)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"baseline": "DCD"}, "no model 'DCD'"),
        ({"case": "case_9"}, "no case with an image and predictions 'case_9'"),
        ({"channel": "T3"}, "no channel 'T3'"),
        ({"slice_index": 99}, "slices 0 to 11"),
    ],
)
def test_a_name_that_does_not_exist_is_refused(tmp_path: Path, options, sentence) -> None:
    models, cases = with_pictures(tmp_path)
    with pytest.raises(UserError) as error:
        write_report(models, cases, tmp_path / "out", **options)
    assert sentence in str(error.value)
    assert error.value.flags == [f"--{next(iter(options)).removesuffix('_index')}"]
    assert not (tmp_path / "out" / "report.html").exists()


def test_a_case_that_is_asked_for_needs_images(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="case_1 cannot be shown: no case has an image") as error:
        write_report(three_models(), ReportedCases({}, {1: "core"}), tmp_path, case="case_1")
    assert error.value.flags == ["--case", "--images"]


def test_two_models_of_one_name_are_refused(tmp_path: Path) -> None:
    model = three_models()[0]
    with pytest.raises(UserError, match="two models are named 'Teacher'"):
        write_report([model, model], ReportedCases({}, {}), tmp_path)
    with pytest.raises(UserError, match="no model"):
        write_report([], ReportedCases({}, {}), tmp_path)


def test_two_drawings_on_one_page_share_no_id() -> None:
    svg = f'<?xml?><svg width="5pt" height="4pt" viewBox="0 0 5 4"><g id="a" fill="{INK}"/><use href="#a"/></svg>'
    first, second = (inline_svg(svg, prefix, 'say "x"') for prefix in ("one", "two"))
    assert 'id="one-a"' in first
    assert 'href="#one-a"' in first
    assert 'id="two-a"' in second
    assert 'fill="currentColor"' in first
    assert first.startswith('<svg viewBox="0 0 5 4" role="img" aria-label="say &quot;x&quot;"')


@pytest.fixture(scope="module")
def browser(made, tmp_path_factory: pytest.TempPathFactory):
    """The page in Chromium, its slice browser ready."""
    with chromium(tmp_path_factory.mktemp("profile")) as page:
        page.open(made.page)
        page.wait("document.getElementById('browser').dataset.ready")
        yield page


PANEL = "document.querySelectorAll('#panels figure')[%d]"
INKS = "document.querySelectorAll('#panels canvas')[%d].toDataURL()"


def test_page_loads_without_complaints_and_without_a_network(browser: Page) -> None:
    assert browser.problems == []
    assert [url for url in browser.requests if not url.startswith(("file:", "data:image/"))] == []
    assert browser.run("document.title") == "A <report> & more"


def first_column(browser: Page) -> list[str]:
    return browser.run("[...document.querySelectorAll('#overall tbody tr')].map(r => r.cells[0].textContent.trim())")


def test_heading_sorts_and_sorts_back(browser: Page) -> None:
    heading = "document.querySelectorAll('#overall thead th')[%d]"
    before = first_column(browser)
    assert before == ["Teacher", "Alone", "DCD <b>"]
    browser.run(f"{heading % 1}.querySelector('button').click()")
    assert first_column(browser) == ["Alone", "DCD <b>", "Teacher"]
    assert browser.run(f"{heading % 1}.getAttribute('aria-sort')") == "ascending"
    browser.run(f"{heading % 1}.querySelector('button').focus()")
    browser.press("Enter")
    assert first_column(browser) == ["Teacher", "DCD <b>", "Alone"]
    assert browser.run(f"{heading % 1}.getAttribute('aria-sort')") == "descending"
    browser.run(f"{heading % 0}.querySelector('button').click()")
    assert first_column(browser) == ["Alone", "DCD <b>", "Teacher"]
    assert browser.run("document.querySelectorAll('#overall [aria-sort]').length") == 1


def test_arrow_key_moves_the_slice_in_every_panel(browser: Page) -> None:
    slices = "[...document.querySelectorAll('#panels canvas')].map(c => Number(c.dataset.slice))"
    before = browser.run(slices)
    assert len(before) == 4
    assert len(set(before)) == 1
    shown = browser.run(INKS % 0)
    browser.run("document.getElementById('slice').focus()")
    browser.press("ArrowRight")
    browser.press("ArrowRight")
    assert browser.run(slices) == [number + 2 for number in before]
    assert browser.run(INKS % 0) != shown
    browser.press("ArrowLeft")
    browser.press("ArrowLeft")
    assert browser.run(INKS % 0) == shown


def test_tick_switches_one_overlay_and_the_master_all(browser: Page) -> None:
    on = [browser.run(INKS % number) for number in range(4)]
    assert on[0] == on[1], "the teacher is right, so its overlay is that of the reference"
    assert len(set(on)) == 3
    browser.run(f"{PANEL % 2}.querySelector('input').click()")
    off = [browser.run(INKS % number) for number in range(4)]
    assert [a == b for a, b in zip(on, off, strict=True)] == [True, True, False, True]
    assert "no overlay" in browser.run(f"{PANEL % 2}.querySelector('canvas').getAttribute('aria-label')")
    browser.run("document.getElementById('overlays').click()")
    bare = [browser.run(INKS % number) for number in range(4)]
    assert set(bare) == {off[2]}
    browser.run("document.getElementById('overlays').click()")
    assert [browser.run(INKS % number) for number in range(4)] == on


def choose(browser: Page, select: str, number: int) -> None:
    element = f"document.getElementById('{select}')"
    events = f"for (const kind of ['input', 'change']) {element}.dispatchEvent(new Event(kind))"
    browser.run(f"{element}.selectedIndex = {number}; {events}")


def test_no_voxel_error_is_shown_if_the_prediction_is_right(browser: Page) -> None:
    choose(browser, "shown", 1)
    right, wrong = browser.run(INKS % 1), browser.run(INKS % 3)
    legend = browser.run("[...document.querySelectorAll('#legend li')].map(e => e.textContent)")
    browser.run("document.getElementById('overlays').click()")
    bare = browser.run(INKS % 1)
    browser.run("document.getElementById('overlays').click()")
    choose(browser, "shown", 0)
    assert legend == ["False negative", "False positive", "Wrong label"]
    assert right == bare != wrong


def test_other_channel_and_case_are_shown(browser: Page) -> None:
    assert browser.run("[...document.getElementById('channel').options].map(o => o.value)") == ["T2", "T1"]
    before = browser.run(INKS % 0)
    choose(browser, "channel", 1)
    assert browser.run(INKS % 0) != before
    choose(browser, "channel", 0)
    other = browser.run("document.getElementById('case').options[1].value")
    choose(browser, "case", 1)
    browser.wait(f"document.getElementById('browser').dataset.ready === {json.dumps(other)}")
    assert browser.run(INKS % 0) != before
    assert browser.problems == []


@pytest.mark.parametrize("width", [360, 1280])
@pytest.mark.parametrize("dark", [False, True])
def test_page_fits_the_screen_and_its_text_stands_out(made, tmp_path: Path, width: int, dark: bool) -> None:
    with chromium(tmp_path) as page:
        page.open(made.page, width=width, dark=dark)
        page.wait("document.getElementById('browser').dataset.ready")
        assert page.run("document.documentElement.scrollWidth") <= width
        colours = page.run(
            "['background-color', 'color'].map(name => getComputedStyle(document.body).getPropertyValue(name))"
        )
        background, text = (sum(map(int, re.findall(r"\d+", colour)[:3])) / 3 for colour in colours)
        assert background < 40 if dark else background > 230
        assert abs(background - text) > 180
        drawn = page.run("getComputedStyle(document.querySelector('.drawing svg')).color")
        assert drawn == colours[1]
        assert page.problems == []
