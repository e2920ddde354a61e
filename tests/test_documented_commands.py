"""Every command line that README and documentation print parses, and the tutorials run line by line."""

from __future__ import annotations

import os
import re
import runpy
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import typer
import yaml

from documented import PAGES, REPOSITORY, Line, blocks, commands, parse_nndistill, parse_nnunet, parse_script
from nndistill import recipes
from nndistill.cli import application
from nndistill.cli.commands import distill as distill_command
from nndistill.files import read_json, write_json

SOURCES = REPOSITORY / "docs" / "results" / "measured" / "sources.yaml"
MEASURED = [Line(SOURCES, 0, each["command"]) for each in yaml.safe_load(SOURCES.read_text(encoding="utf-8")).values()]
LINES = [*MEASURED, *(line for page in PAGES for block in blocks(page) for line in block)]
README = REPOSITORY / "README.md"
TUTORIALS = REPOSITORY / "docs" / "tutorials"


def _beginning_with(*programs: str) -> list[tuple[Line, list[str]]]:
    return [
        (line, words)
        for line in LINES
        for words in commands(line)
        if words and words[0].startswith(programs) and words[1:] != []
    ]


def test_every_page_with_commands_was_read():
    pages = {line.page.name for line in LINES}
    assert {"README.md", "CONTRIBUTING.md", "commands.md", "dcd.md", "brats2024.md", "nnunet.md"} <= pages
    assert "own-teacher.md" in pages


def test_every_line_of_nndistill_parses_with_what_it_requires():
    parsed = _beginning_with("nndistill")
    assert len(parsed) > 100
    for line, words in parsed:
        assert words[0] == "nndistill", line
        try:
            parse_nndistill(words[1:])
        except Exception as error:
            pytest.fail(f"{line}\n{words}\n{error!r} {getattr(error, 'message', '')}")


def test_the_reference_has_every_command_and_option_of_the_command_line():
    text = runpy.run_path(str(REPOSITORY / "docs" / "command_list.py"))["reference"]()
    sections = {part.partition("`")[0]: part for part in f"\n{text}".split("\n## `")[1:]}
    assert {"distill", "prepare brats2024", "study run"} <= set(sections)
    assert "| `--reduction` | 4 | Number by which" in sections["distill"]
    assert "| `--gpus` | `1` | " in sections["distill"]
    assert "cirkd, cwd, dcd" in sections["distill"]
    assert "| `--fold` | the only one | " in sections["predict"]
    for name, parameters in _every_command(typer.main.get_command(application.app)):
        assert "```console\n$ " in sections[name] or name.startswith("prepare "), name
        for parameter in parameters:
            assert parameter.param_type_name == "argument" or f"`{parameter.opts[-1]}`" in sections[name], (
                name,
                parameter.opts,
            )


def _every_command(group: Any, before: str = "") -> Iterator[tuple[str, list[Any]]]:
    """Names and parameters of the commands of a group and of the groups in it, except hidden ones."""
    context = typer.Context(group)
    for child in group.list_commands(context):
        command = group.get_command(context, child)
        if hasattr(command, "list_commands"):
            yield from _every_command(command, f"{before}{child} ")
        elif not command.hidden:
            yield f"{before}{child}", command.params


def test_every_line_of_nnunet_parses(monkeypatch):
    parsed = _beginning_with("nnUNetv2_")
    assert len(parsed) > 5
    for line, words in parsed:
        assert parse_nnunet(words, monkeypatch), line


def test_every_line_of_a_benchmark_parses(monkeypatch):
    in_tables = [
        Line(page, 0, text)
        for page in PAGES
        for text in re.findall(r"`((?:\w+=\w+ )*python benchmarks/[^`]*)`", page.read_text(encoding="utf-8"))
    ]
    found = {
        tuple(words[1:])
        for line in [*LINES, *in_tables]
        for words in commands(line)
        if words[:1] == ["python"] and words[1].startswith("benchmarks/")
    }
    assert len(found) > 5
    for words in sorted(found):
        assert parse_script(list(words), monkeypatch), words


def test_every_target_of_make_exists():
    targets = {words[1] for line in LINES for words in commands(line) if words[:1] == ["make"]}
    makefile = (REPOSITORY / "Makefile").read_text(encoding="utf-8")
    assert targets >= {"demo", "test"}
    assert all(f"\n{target}:" in makefile for target in targets)


@pytest.fixture
def in_world(world, tmp_path, monkeypatch):
    """The tiny workspace by nnU-Net's variables, an empty working folder, and recipes of one batch."""
    for name in ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results"):
        monkeypatch.setenv(name, str(world.workspace / name))
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    whole = recipes.load_recipe

    def shrunk(name):
        return whole(name).adjusted(epochs=1, iterations=1, validation_iterations=1)

    monkeypatch.setattr(recipes, "load_recipe", shrunk)
    return world


def test_readme_s_own_teacher_is_distilled_and_reported_line_by_line(nndistill, in_world):
    (lines,) = (
        block for block in blocks(README) if any("distill TEACHER_FOLDER --fold 0 --method" in x.text for x in block)
    )
    made = [words[1:] for line in lines for words in commands(line) if words[0] == "nndistill"]
    assert [words[0] for words in made] == ["complexity", "diagnose", "distill", "distill", "report"]
    students: list[Path] = []
    predicted = in_world.results / "nnUNetTrainerDistill__student__3d_fullres" / "fold_0" / "validation"
    shutil.copytree(predicted, in_world.teacher / "fold_0" / "validation")  # the tiny teacher has none of its own
    for words in made:
        before = set(in_world.results.iterdir())
        given = [str(in_world.teacher) if word == "TEACHER_FOLDER" else word for word in words]
        if "STUDENT_FOLDER…" in given:
            given[given.index("STUDENT_FOLDER…") :] = map(str, students)
        if words[0] == "diagnose":
            given += ["--cases", "1"]  # the fold has no more
        result = nndistill(*given)
        assert result.status == 0, (words, result.err)
        students += sorted(set(in_world.results.iterdir()) - before)
    assert len(students) == 2
    assert Path("nndistill-report/report.html").is_file()


@pytest.mark.slow
def test_each_line_of_a_series_of_ablations_is_a_run_of_its_own(nndistill, in_world, monkeypatch):
    monkeypatch.setattr(distill_command, "train_with_progress", lambda *args, **kwargs: None)
    monkeypatch.setattr(distill_command, "report_training", lambda *args, **kwargs: None)
    pages = [
        README,
        *sorted((REPOSITORY / "docs" / "reference" / "methods").glob("*.md")),
        REPOSITORY / "docs" / "explanation" / "paper-and-release.md",
    ]
    series = {
        shlex.join(words): words
        for page in pages
        for block in blocks(page)
        for line in block
        for words in commands(line)
        if words[:3] == ["nndistill", "distill", "TEACHER_FOLDER"]
    }
    assert len(series) > 25
    setups = {}
    for text, words in series.items():
        before = set(in_world.preprocessed.glob("*.json"))
        result = nndistill("distill", in_world.teacher, *words[3:])
        assert result.status == 0, (text, result.err)
        for plans in set(in_world.preprocessed.glob("*.json")) - before:
            setups[plans.stem] = text
    trainings = {repr(sorted(_training(words).items())) for words in series.values()}
    assert len(setups) == len(trainings)


def _training(words: list[str]) -> dict[str, object]:
    """What a line asks for, whether or not it spells out the default method."""
    asked = parse_nndistill(words[1:])
    return {**asked, "method": asked["method"] or "dcd"}


_SHRINKING = """\
import sys
from nndistill import demo, recipes
from nndistill.cli import main

whole, run_demo = recipes.load_recipe, demo.run_demo
size = demo.DemoSize(
    cases=5, test_cases=2, shape=(32, 40, 32), spacing=(4.0, 4.0, 4.0), patch_size=(32, 32, 32),
    teacher_features=(8, 16, 32), teacher_epochs=1, student_epochs=1, iterations=1, validation_iterations=1,
)
recipes.load_recipe = lambda name: whole(name).adjusted(iterations=1, validation_iterations=1)
demo.run_demo = lambda workspace, device: run_demo(workspace, device=device, size=size)
few = ["--epochs", "1"] if sys.argv[1] in ("teach", "distill") else []
if __name__ == "__main__":  # the processes that nnU-Net starts read this file too
    main([*sys.argv[1:], *few])
"""


def _walk(page: Path, folder: Path, *, instead: dict[str, str], **variables: str) -> None:
    """Run the lines of `nndistill` on a page in a shell, in their order, with one batch per epoch."""
    programs = folder / "bin"
    programs.mkdir()
    (programs / "shrunk.py").write_text(_SHRINKING)
    (programs / "nndistill").write_text(f'#!/bin/sh\nexec {sys.executable} {programs}/shrunk.py "$@"\n')
    (programs / "nndistill").chmod(0o755)
    lines = [
        line.text for block in blocks(page) for line in block if not line.text.startswith(("make", "export NNDISTILL"))
    ]
    assert lines
    for word, replacement in instead.items():
        assert any(word in line for line in lines), word
        lines = [line.replace(word, replacement) for line in lines]
    environment = {**os.environ, "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}", **variables}
    environment |= {"nnUNet_def_n_proc": "1", "CUDA_VISIBLE_DEVICES": ""}
    script = "\n".join(["set -e", *lines])
    done = subprocess.run(
        ["bash", "-c", script], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]


def test_every_tutorial_is_walked():
    assert {page.name for page in TUTORIALS.glob("*.md")} == {"demo.md", "own-teacher.md", "hippocampus.md"}


@pytest.mark.slow
def test_the_tutorial_of_the_demo_runs(tmp_path):
    _walk(TUTORIALS / "demo.md", tmp_path, instead={})
    assert (tmp_path / "nndistill-demo" / "report" / "report.html").is_file()


@pytest.mark.slow
def test_the_tutorial_of_your_own_teacher_runs_from_the_check_to_a_prediction(world, tmp_path):
    predicted = world.results / "nnUNetTrainerDistill__student__3d_fullres" / "fold_0" / "validation"
    shutil.copytree(predicted, world.teacher / "fold_0" / "validation")  # the tiny teacher has none of its own
    _walk(
        TUTORIALS / "own-teacher.md",
        tmp_path,
        instead={"TEACHER_FOLDER": str(world.teacher), " IMAGES ": f" {world.dataset / 'imagesTs'} "},
        **{name: str(world.workspace / name) for name in ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results")},
    )
    assert (tmp_path / "report" / "report.html").is_file()
    assert list((tmp_path / "OUTPUT").glob("*.nii.gz"))


@pytest.mark.slow
def test_the_tutorial_on_real_mri_runs(tmp_path):
    """With a Decathlon task of six small made images."""
    task = tmp_path / "data" / "Task04_Hippocampus"
    _make_task(task)
    _walk(TUTORIALS / "hippocampus.md", tmp_path, instead={}, NNDISTILL_DATA=str(task.parent))
    assert (tmp_path / "report" / "report.html").is_file()


@pytest.mark.slow
def test_five_folds_of_a_phantom_are_distilled_with_two_seeds_and_compared(tmp_path):
    page = REPOSITORY / "docs" / "how-to" / "folds.md"
    smaller = {"--cases 10": "--cases 5", "--features 16 32 64 128": "--features 8 16 32"}
    own, alone = "TEACHER=TEACHER_FOLDER RECIPE=paper SHORT=", "nndistill distill TEACHER_FOLDER --fold all"
    _walk(page, tmp_path, instead={**smaller, own: "true", alone: "true"})
    for run in ("none_s1", "none_s2", "dcd_s1", "dcd_s2"):
        rows = (tmp_path / f"{run}.csv").read_text().splitlines()
        assert len({row.split(",")[0] for row in rows[1:]}) == 5


def _make_task(task: Path) -> None:
    generator = np.random.default_rng(0)
    for folder in ("imagesTr", "labelsTr"):
        (task / folder).mkdir(parents=True)
    names = [f"hippocampus_{number:03d}.nii.gz" for number in range(6)]
    for name in names:
        labels = np.zeros((32, 40, 32), np.uint8)
        labels[8:16, 10:20, 8:16], labels[16:24, 10:20, 8:16] = 1, 2
        image = generator.normal(100, 10, labels.shape) + 50 * labels
        nib.save(nib.Nifti1Image(image.astype(np.float32), np.eye(4)), task / "imagesTr" / name)
        nib.save(nib.Nifti1Image(labels, np.eye(4)), task / "labelsTr" / name)
    description = {
        "name": "Hippocampus",
        "modality": {"0": "MRI"},
        "labels": {"0": "background", "1": "Anterior", "2": "Posterior"},
        "training": [{"image": f"./imagesTr/{name}", "label": f"./labelsTr/{name}"} for name in names],
        "test": [],
    }
    write_json(task / "dataset.json", description)
    assert read_json(task / "dataset.json")["training"]
