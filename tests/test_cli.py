"""The command line itself: help, usage errors, faults, and the way in."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
import typer

from nndistill.cli import application
from nndistill.files import read_json
from nndistill.methods import METHODS

COMMANDS = [
    ["demo"],
    ["phantom"],
    ["prepare"],
    ["prepare", "decathlon"],
    ["prepare", "brats2024"],
    ["prepare", "isles2022"],
    ["teach"],
    ["distill"],
    ["benchmark"],
    ["evaluate"],
    ["report"],
    ["compare"],
    ["complexity"],
    ["diagnose"],
]


@pytest.mark.parametrize("command", [[], *COMMANDS, ["trainer-path"]], ids=" ".join)
def test_help_everywhere(nndistill, command):
    result = nndistill(*command, "--help")
    assert result.status == 0
    assert "Usage: nndistill" in " ".join(result.out.split())


def test_help_of_distill_names_every_method(nndistill):
    words = set(re.split(r"[^\w-]+", nndistill("distill", "--help").out))
    assert set(METHODS) <= words


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["distill"], "teacher_folder"),
        (["distill", "folder", "--reduction", "four"], "'--reduction': Input should be a valid integer"),
        (["distil"], "distill"),
        (["phantom", "out", "--cases", "0"], "--cases"),
        (["teach", "1", "--features"], "--features"),
    ],
)
def test_usage_error_is_one_sentence_with_status_2(nndistill, arguments, sentence):
    result = nndistill(*arguments)
    assert result.status == 2
    assert result.err.startswith("error: ")
    assert sentence.casefold() in result.err.casefold()
    assert "Traceback" not in result.err


@pytest.mark.parametrize(
    ("arguments", "has_it"), [(["distill", "folder", "--recipe", "papr"], True), (["recipes", "papr"], False)]
)
def test_mistake_names_the_option_if_the_command_has_it(nndistill, arguments, has_it):
    result = nndistill(*arguments)
    assert result.status == 2
    assert result.err.startswith("error: there is no recipe 'papr'. Did you mean 'paper'?")
    assert result.err.endswith("See the option --recipe.") == has_it


def test_fault_of_ours_has_status_1_and_asks_for_a_report(nndistill, monkeypatch):
    def broken(*args: object, **kwargs: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(application, "app", broken)
    result = nndistill("trainer-path")
    assert result.status == 1
    assert "ZeroDivisionError" in result.err
    assert "report it" in result.err


def test_list_option_takes_values_up_to_the_next_word():
    rewritten = application._one_value_per_option(["teach", "4", "--features", "8", "16", "--fold", "0", "--features"])
    assert rewritten == ["teach", "4", "--features", "8", "--features", "16", "--fold", "0", "--features"]


def test_list_options_are_options_of_commands_that_can_be_repeated():
    repeatable = {
        flag
        for command in _commands(typer.main.get_command(application.app))
        for option in command.params
        if getattr(option, "multiple", False)
        for flag in option.opts
    }
    assert application._LISTS
    assert set(application._LISTS) <= repeatable


def _commands(command):
    """A command, or all commands of a group."""
    subcommands = getattr(command, "commands", {}).values()
    return [each for sub in subcommands for each in _commands(sub)] or [command]


def test_list_of_words_ends_at_the_next_option():
    rewritten = application._one_value_per_option(
        ["report", "run", "--names", "Big one", "2", "--json", "--names", "a"]
    )
    assert rewritten == ["report", "run", "--names", "Big one", "--names", "2", "--json", "--names", "a"]


def test_module_and_script_are_the_same_command():
    script = Path(sys.executable).with_name("nndistill")
    outputs = [
        subprocess.run([*command, "trainer-path"], capture_output=True, text=True, check=True).stdout
        for command in ([sys.executable, "-m", "nndistill"], [script])
    ]
    assert outputs[0] == outputs[1]
    assert (Path(outputs[0].strip()) / "nndistill_trainers.py").is_file()


@pytest.mark.parametrize("module", ["nndistill", "nndistill.cli", "nndistill.runtime"])
def test_import_needs_no_package_of_an_extra(module):
    extras = {"torch", "nnunetv2", "pandas", "yaml", "matplotlib", "nibabel", "jinja2", "pywt"}
    code = f"import sys, {module}; print(*({extras} & sys.modules.keys()))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "\n"


@pytest.mark.parametrize(
    ("module", "sentence"),
    [
        (
            "matplotlib",
            "this command needs matplotlib, which is not installed: pip install '.[train]' in nnDistill's repository",
        ),
        ("onnx", "this command needs onnx, which is not installed: pip install '.[export]' in nnDistill's repository"),
        (
            "openvino",
            "this command needs openvino, which is not installed: pip install '.[openvino]' in nnDistill's repository",
        ),
    ],
)
def test_missing_package_of_an_extra_is_a_sentence_that_names_it(nndistill, monkeypatch, module, sentence):
    monkeypatch.setattr(application, "app", _importing(module))
    result = nndistill("trainer-path")
    assert result.status == 2
    assert result.err == f"error: {sentence}"


def test_missing_module_of_no_extra_is_a_fault_of_ours(nndistill, monkeypatch):
    monkeypatch.setattr(application, "app", _importing("nndistill.misspelt"))
    result = nndistill("trainer-path")
    assert result.status == 1
    assert "ModuleNotFoundError" in result.err


def _importing(module: str):
    """A command that imports a module which is not there."""

    def command(*arguments: object, **options: object) -> None:
        raise ModuleNotFoundError(f"No module named {module!r}", name=module)

    return command


def test_phantom_writes_a_raw_data_set(nndistill, tmp_path):
    result = nndistill("phantom", tmp_path, "--cases", 1, "--seed", 3)
    assert result.status == 0
    folder = tmp_path / "Dataset900_Phantom"
    assert str(folder) in result.out
    assert len(list((folder / "imagesTr").glob("*.nii.gz"))) == 4


def test_prepare_decathlon_and_say_what_is_next(nndistill, real_data, tmp_path):
    result = nndistill(
        "prepare", "decathlon", real_data / "Task04_Hippocampus", "--dataset-id", 4, "--workspace", tmp_path
    )
    assert result.status == 0
    assert read_json(tmp_path / "nnUNet_raw" / "Dataset004_Hippocampus" / "dataset.json")["numTraining"] == 200
    assert f"nndistill teach 4 --workspace {tmp_path}" in result.out


def test_several_folds_are_a_list_where_several_predict_together():
    for command in ("predict", "export", "benchmark"):
        rewritten = application._one_value_per_option([command, "--fold", "0", "1", "all", "model", "--fold", "2"])
        assert rewritten == [command, "--fold", "0", "--fold", "1", "--fold", "all", "model", "--fold", "2"]
    teach = ["teach", "--fold", "0", "4"]  # of data set 4
    assert application._one_value_per_option(teach) == teach
