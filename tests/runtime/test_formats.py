"""The table of formats and runtimes names what exists, and help and documentation say the same."""

from __future__ import annotations

import inspect
import re
import runpy
from importlib.metadata import requires
from pathlib import Path
from pkgutil import resolve_name

import pytest

from nndistill.runtime.formats import FORMATS, PRECISIONS, RUNTIMES, formats_for, packages_and_extras

DOCS = Path(__file__).parents[2] / "docs"


@pytest.mark.parametrize("name", FORMATS)
def test_writer_and_reader_of_a_format_exist_and_take_what_they_are_given(name):
    kind = FORMATS[name]
    inspect.signature(resolve_name(kind.writer)).bind("job", "output")
    if kind.reader is None:
        assert kind.file is not None
    else:
        inspect.signature(resolve_name(kind.reader)).bind("model", "description", "fold")


@pytest.mark.parametrize("name", RUNTIMES)
def test_loader_of_a_runtime_exists_and_takes_what_it_is_given(name):
    inspect.signature(resolve_name(RUNTIMES[name].loader)).bind("network", "description", device="cpu")


def test_every_format_has_a_runtime_and_every_runtime_a_format():
    assert {backend for kind in FORMATS.values() for backend in kind.backends} == set(RUNTIMES)
    assert all(formats_for(backend) for backend in RUNTIMES)
    assert all(kind.precisions[0] == "float32" for kind in FORMATS.values())
    assert {precision for kind in FORMATS.values() for precision in kind.precisions} == set(PRECISIONS)


def test_a_format_that_a_runtime_computes_by_default_is_recommended_first():
    assert formats_for("onnxruntime") == ["onnx"]
    assert formats_for("openvino") == formats_for("openvino", "int8") == ["openvino"]
    assert formats_for("torch") == ["safetensors", "nnunet"]


@pytest.mark.parametrize(("package", "extra"), packages_and_extras().items())
def test_an_extra_installs_the_packages_it_is_named_for(package, extra):
    installed = [line for line in requires("nndistill") or [] if re.search(rf"extra == ['\"]{extra}['\"]", line)]
    assert any(re.match(rf"{package}\b", line) for line in installed)


def _codes(names: tuple[str, ...]) -> str:
    return ", ".join(f"`{name}`" for name in names)


def test_the_documented_table_of_formats_is_this_one():
    rows = [
        f"| `{kind.name}` | {kind.purpose} | {_codes(kind.precisions)} | {_codes(kind.backends)} | "
        f"`nndistill[{kind.extra_to_predict}]` |"
        for kind in FORMATS.values()
    ]
    header = "| `--format` | for | `--precision` | `--backend` | to predict, install |\n|---|---|---|---|---|\n"
    assert header + "\n".join(rows) + "\n\n" in (DOCS / "how-to" / "export.md").read_text()


@pytest.mark.parametrize("precision", PRECISIONS)
def test_every_precision_is_explained(precision):
    assert f"\n| `{precision}` | " in (DOCS / "how-to" / "export.md").read_text()


def test_the_documented_runtimes_are_these():
    reference = runpy.run_path(str(DOCS / "command_list.py"))["reference"]()
    assert f"| `--backend` | the one for the model's format | Runtime: {', '.join(RUNTIMES)}. |" in reference


@pytest.mark.parametrize(
    ("command", "names"), [("export", [*FORMATS, *PRECISIONS]), ("predict", [*RUNTIMES]), ("benchmark", [*RUNTIMES])]
)
def test_help_names_every_format_precision_and_runtime(nndistill, command, names):
    words = set(re.findall(r"\w+", nndistill(command, "--help").out))
    assert set(names) <= words
