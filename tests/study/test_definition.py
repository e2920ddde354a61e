"""A study's file: what is in it, and every mistake as one sentence before any job starts."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from documented import PAGES
from made_studies import write_study_file
from nndistill.errors import UserError
from nndistill.study import load_study
from nndistill.study.init import study_names


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ({"methods": {"dcdd": {}}}, "there is no method 'dcdd'. Did you mean 'dcd'?"),
        ({"methods": {"dcd": {"options": {"band": "D"}}}}, "there is no option of method 'dcd' 'band'"),
        ({"methods": {"dcd": {"options": {"bands": "Q"}}}}, "method dcd:"),
        ({"methods": {"dcd": {"weights": [0.1, 1]}}}, "no pilot, so there are no cases to choose on"),
        ({"methods": {"dcd": {"weight": 1, "balance": 0.5}}}, "weight and balance exclude each other"),
        ({"methods": {"dcd": {"weights": [0.0, 1]}}, "pilot": {}}, "weights have to be above 0"),
        ({"methods": {"dcd": {"balances": [0.5, 0.5]}}, "pilot": {}}, "balances have to be above 0, each given once"),
        ({"methods": {"dcd": {"balances": [0.5, 20]}}, "pilot": {}}, "balance"),
        ({"methods": {"dcd": {"balances": [0.5]}}}, "no pilot, so there are no cases to choose on"),
        ({"methods": {"dcd": {"balances": [0.5], "weights": [1]}}, "pilot": {}}, "weights and balances exclude"),
        ({"methods": {"dcd": {}, "DCD": {"method": "dcd"}}}, "would have the same files"),
        ({"methods": {"../dcd": {"method": "dcd"}}}, "cannot name a method"),
        ({"methods": {}}, "methods:"),
        ({"dataset": None}, "either a dataset or a phantom"),
        ({"phantom": {"cases": 5}}, "either a dataset or a phantom"),
        ({"folds": [0, 0]}, "every fold has to be a number from 0 on, given once"),
        ({"seeds": []}, "seeds:"),
        ({"protocol": "brats"}, "there is no protocol 'brats'"),
        ({"recipe": "papr"}, "there is no recipe 'papr'. Did you mean 'paper'?"),
        ({"changes": {"epoch": 3}}, "there is no key 'epoch'. Did you mean 'epochs'?"),
        ({"test": {"images": "here", "labels": "there"}}, "which the study names"),
        ({"patients": "patients.csv"}, "patients.csv, which the study names"),
        ({"teachers": {"t": {"folder": "nowhere"}}}, "is not a trained nnU-Net"),
        ({"metods": {}}, "there is no key 'metods'. Did you mean 'methods'?"),
        ({"pilot": {"fold": 0, "share": 1.5}}, "pilot.share"),
        ({"methods": {"dcd": {"unlabelled": {"images": "scans", "share": 1}}}}, "methods.dcd.unlabelled.share"),
        ({"methods": {"dcd": {"unlabelled": {"share": 0.5}}}}, "images"),
        ({"methods": {"dcd": {"teacher_fold": [0, 1]}}}, "the study trains teacher fold by fold"),
        ({"methods": {"none": {"seeds": [0]}}}, "compared, so it needs every seed"),
        ({"methods": {"none": {"students": ["student"]}}}, "so it needs every student"),
        ({"methods": {"none": {}, "dcd": {"seeds": [7]}}}, "some of the study's, which are 0, each given once: [7]"),
        ({"methods": {"none": {}, "dcd": {"seeds": []}}}, "method dcd: seeds have to be some of the study's"),
        ({"methods": {"none": {}, "dcd": {"students": ["big"]}}}, "which are student, each given once: ['big']"),
        ({"methods": {"dcd": {"teacher_fold": [1]}}}, "teacher_fold lists several folds, each once"),
        ({"methods": {"dcd": {"teacher_fold": [1, 1]}}}, "teacher_fold lists several folds, each once"),
        ({"methods": {"dcd": {"teacher_fold": "out-of-folds"}}}, "methods.dcd.teacher_fold"),
        ({"methods": {"none": {"teacher_fold": [0, 1]}}}, "it has no teacher"),
        ({"methods": {"dcd": {"teacher_seeds": [1]}}}, "teacher_seeds lists several seeds, each once: [1]"),
        ({"methods": {"dcd": {"teacher_seeds": [1, 1]}}}, "teacher_seeds lists several seeds, each once"),
        ({"methods": {"dcd": {"teacher_seeds": [0, -1]}}}, "teacher_seeds lists several seeds, each once"),
        ({"methods": {"dcd": {"teacher_seeds": [0, 1], "teacher_fold": [0, 1]}}}, "exclude each other; give one"),
        (
            {"students": {"s": {"init": "random"}}, "methods": {"none": {"changes": {"init": "teacher"}}}},
            "method none and student s both say what to start from; remove init from one of them",
        ),
        ({"teachers": {"t": {"changes": {"init": "teacher"}}}}, "teacher t: init is what a student starts from"),
        ({"methods": {"none": {"teacher_seeds": [0, 1]}}}, "it has no teacher, so teacher_seeds would have no effect"),
        ({"methods": {"dcd": {"teachers": "rotate"}}}, "only if teacher_fold lists several folds"),
        ({"methods": {"none": {"unlabelled": {"images": "scans"}}}}, "method none: unlabelled images join the"),
        ({"methods": {"dcd": {"weight": 0, "unlabelled": {"images": "scans"}}}}, "which does not count here"),
        ({"methods": {"ifvd": {"unlabelled": {"images": "scans"}}}}, "ifvd compares class by class"),
        ({"students": {"s": {"architecture": "primus"}}}, "students.s.architecture"),
        ({"students": {"s": {"features": [8, 16], "reduction": 2}}}, "has features and a reduction; leave one of"),
    ],
)
def test_mistakes_are_one_sentence(nndistill, tmp_path: Path, keys: dict[str, object], words: str) -> None:
    places = write_study_file(tmp_path, **keys)

    finished = nndistill("study", "run", places.file)

    assert finished.status == 2
    assert words in finished.err
    assert str(places.file) in finished.err
    assert "Traceback" not in finished.err
    assert not places.work.exists()


def test_missing_file_says_what_writes_one(nndistill, tmp_path: Path) -> None:
    finished = nndistill("study", "status", tmp_path / "study.yaml")

    assert finished.status == 2
    assert "nndistill study init" in finished.err


def test_a_number_of_a_data_set_may_be_written_as_nnunet_writes_it(nndistill, tmp_path: Path) -> None:
    file = tmp_path / "study.yaml"

    assert nndistill("study", "init", "decathlon", "--dataset", "010", "--out", file).status == 0

    assert load_study(file).dataset == 10  # in YAML, 010 is 8


def test_a_mistake_names_its_line(nndistill, tmp_path: Path) -> None:
    file = tmp_path / "study.yaml"
    file.write_text("dataset: 4\nmethods:\n  none: {}\n  dcd: {wait: 3}\n")

    finished = nndistill("study", "run", file)

    assert "line 4: there is no key 'methods.dcd.wait'" in finished.err


def test_teachers_that_have_seen_the_reported_cases_are_refused(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "plans.json").write_text("{}")
    teachers, rows = {"t": {"folder": "model"}}, {"none": {}, "dcd": {"teacher_fold": "out-of-fold"}}
    load_study(write_study_file(tmp_path, teachers=teachers, methods=rows, test="raw").file)
    places = write_study_file(tmp_path, teachers=teachers, methods=rows)

    with pytest.raises(UserError, match=r"method dcd: .* have seen the validation cases that the study reports"):
        load_study(places.file)


def test_teacher_with_a_folder_takes_no_training(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "plans.json").write_text("{}")
    places = write_study_file(tmp_path, teachers={"t": {"folder": "model", "batch_size": 2}})

    with pytest.raises(Exception, match="batch_size would have no effect"):
        load_study(places.file)


@pytest.mark.parametrize("name", study_names())
def test_written_studies_are_valid(nndistill, tmp_path: Path, name: str) -> None:
    file = tmp_path / "study.yaml"
    arguments = ["--dataset", "4"] if name == "decathlon" else []

    finished = nndistill("study", "init", name, "--out", file, *arguments)

    assert finished.status == 0
    assert load_study(file).base == "none"
    listed = nndistill("study", "run", file, "--dry-run", "--workspace", tmp_path)
    assert json.loads(nndistill("study", "run", file, "--dry-run", "--json", "--workspace", tmp_path).out)["runs"]
    assert "teacher" in listed.out
    assert listed.status == 0
    assert ("cannot run yet" in listed.err) == (name != "phantom"), "the data sets of the others are not there"


def test_studies_in_the_documentation_are_valid(tmp_path: Path) -> None:
    written = {
        (page.name, number): text
        for page in PAGES
        for number, text in enumerate(re.findall(r"^```yaml\n(.*?)^```", page.read_text(encoding="utf-8"), re.M | re.S))
        if re.search(r"^methods:", text, re.M)
    }
    assert {name for name, _ in written} == {"study.md", "teachers.md", "unlabelled.md"}
    (tmp_path / "TEACHER_FOLDER").mkdir()
    (tmp_path / "TEACHER_FOLDER" / "plans.json").write_text("{}")
    file = tmp_path / "study.yaml"

    for text in written.values():
        data = "" if re.search("^(dataset|phantom):", text, re.M) else "dataset: 4\n"
        file.write_text(data + text)
        load_study(file)


def test_init_overwrites_nothing(nndistill, tmp_path: Path) -> None:
    file = tmp_path / "study.yaml"
    file.write_text("mine")

    finished = nndistill("study", "init", "phantom", "--out", file)

    assert finished.status == 2
    assert file.read_text() == "mine"


def test_init_asks_for_the_data_set(nndistill, tmp_path: Path) -> None:
    assert "needs a data set" in nndistill("study", "init", "decathlon", "--out", tmp_path / "s.yaml").err


@pytest.mark.parametrize(
    ("table", "words"),
    [("case,person\na,b\n", "has no column patient"), ("case,patient\na,\n", "has a row without a case or a patient")],
)
def test_a_table_of_patients_is_read_before_any_training(nndistill, tmp_path: Path, table: str, words: str) -> None:
    places = write_study_file(tmp_path, patients="patients.csv")
    (tmp_path / "patients.csv").write_text(table)

    finished = nndistill("study", "run", places.file)

    assert finished.status == 2
    assert f"{tmp_path / 'patients.csv'} {words}" in finished.err
    assert str(places.file) in finished.err
    assert not places.work.exists()
