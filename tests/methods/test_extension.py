"""A method is one file: in nnDistill's folder, in another package, or in a script, it is found without any list."""

from __future__ import annotations

import runpy
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from activations import of_network
from extensions import METHOD
from nndistill import methods
from nndistill.errors import UnknownName, UserError
from nndistill.methods import METHODS, StagewiseMethod, build_method, option_names, register
from nndistill.methods.names import shipped_methods
from nndistill.methods.registry import find_method, title_of

ROOT = Path(__file__).parents[2]
CHANNELS = {"student_channels": [2, 4], "teacher_channels": [4, 8]}


def table() -> str:
    return str(runpy.run_path(str(ROOT / "docs" / "method_table.py"))["table"]())


def check_direction(nndistill) -> None:
    """The method of `extensions.METHOD` is everywhere where nnDistill's own are."""
    method = build_method("direction", **CHANNELS, power=2).double()
    assert method(of_network([2, 4]), of_network([4, 8], seed=5)).shape == ()
    assert option_names("dcd+direction") >= {"direction.power", "dcd.level"}
    assert build_method("dcd+direction", **CHANNELS, **{"direction.power": 3}).parts["direction"].power == 3
    with pytest.raises(UserError, match="option power of method 'direction'"):
        build_method("direction", **CHANNELS, power="high")
    assert "direction" in nndistill("distill", "--help").out.split("--option")[0].replace(",", " ").split()
    assert title_of("direction") == "Direction of features"
    assert (
        "`direction` | Direction of features | where feature vectors point | encoder stages | yes | 0.25 |" in table()
    )


def test_method_of_another_package_is_everywhere(install, nndistill):
    install("my-methods", METHOD, {"direction": "Direction"})
    check_direction(nndistill)


def test_file_in_the_folder_of_methods_is_everywhere(add_file, nndistill):
    add_file("direction.py", METHOD.replace("from nndistill.methods import", "from . import"))
    check_direction(nndistill)


def test_class_of_a_file_in_the_folder_is_imported_from_the_package(add_file):
    add_file("direction.py", METHOD)
    assert methods.Direction is METHODS["direction"]
    with pytest.raises(AttributeError, match="no attribute 'Directions'"):
        _ = methods.Directions


def test_names_are_found_without_importing_pytorch_or_a_method(install):
    folder = install("my-methods", "raise RuntimeError('imported')", {"direction": "Direction"})
    code = (
        "import sys; from nndistill.methods.names import method_names; print(method_names());"
        "assert 'torch' not in sys.modules"
    )
    found = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(folder)!r}); {code}"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert "'direction'" in found.stdout
    assert "'dcd-release'" in found.stdout


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("raise RuntimeError('made for another version')", "RuntimeError: made for another version"),
        ("import package_that_is_not_there", "ModuleNotFoundError"),
        ("Direction = 3", "not a subclass"),
        (METHOD.replace('"direction"', '"heading"'), "calls itself 'heading'"),
        (METHOD.replace('title = "Direction of features"', ""), "needs a title"),
        (METHOD.replace("power: float = 1.0", "power: float"), "needs a default for power"),
        ("", "AttributeError"),
    ],
)
def test_broken_package_is_a_sentence_if_named_and_a_warning_otherwise(install, nndistill, caplog, code, reason):
    install("broken-methods", code, {"direction": "Direction"})
    for name in ("direction", "dcd+direction"):
        with pytest.raises(UserError, match=f"method 'direction' of the installed package broken-methods .*{reason}"):
            build_method(name, **CHANNELS)
    assert build_method("dcd", **CHANNELS)
    with pytest.raises(UnknownName, match="Did you mean 'dcd'"):
        build_method("dcdd", **CHANNELS)
    assert "direction" in nndistill("distill", "--help").out.replace(",", " ").split()
    assert "broken-methods" not in caplog.text
    rows = table().splitlines()
    assert not any("`direction`" in row for row in rows)
    assert any("`dcd`" in row for row in rows)
    assert "broken-methods" in caplog.text
    assert title_of("direction") == "direction"


def test_package_cannot_take_a_name_of_nndistill(install, caplog):
    code = METHOD.replace('"direction"', '"dcd"').replace("@register\n", "")
    install("my-methods", code, {"dcd": "Direction"})
    assert type(build_method("dcd", **CHANNELS)).__module__ == "nndistill.methods.dcd"
    assert "my-methods offers a distillation method called dcd, but so does nnDistill" in caplog.text


def test_second_package_cannot_take_the_name_of_the_first(install, caplog):
    install("a-methods", METHOD, {"direction": "Direction"})
    install("b-methods", METHOD, {"direction": "Direction"})
    assert build_method("direction", **CHANNELS)
    assert "called direction, but so does" in caplog.text


def test_name_of_another_method_cannot_be_registered(clean_registry):
    with pytest.raises(UserError, match=r"Mine cannot be registered as 'feature': nndistill.methods.feature:Feature"):

        @register
        class Mine(StagewiseMethod):
            name = "feature"
            title = "Mine"

    assert METHODS["feature"].__name__ == "Feature"


@pytest.mark.parametrize("name", ["", "Direction", "a+b", "a.b", "1a"])
def test_name_that_cannot_be_written_on_a_command_line_is_refused(clean_registry, name):
    with pytest.raises(TypeError, match="needs a name of small letters"):
        register(type("Mine", (StagewiseMethod,), {"name": name, "title": "Mine"}))


def test_class_of_a_script_may_be_registered_again(clean_registry):
    """As in a notebook, where a cell is run twice."""
    for weight in (1.0, 2.0):
        mine = type("Mine", (StagewiseMethod,), {"name": "mine", "title": "Mine", "source_weight": weight})
        assert register(mine) is mine
        assert find_method("mine") is mine


def test_every_registered_class_in_the_folder_is_found_under_its_name():
    """Names are read from the files' text; this is what importing them gives."""
    files = (ROOT / "src" / "nndistill" / "methods").glob("*.py")
    decorated = [line for file in files for line in file.read_text().splitlines() if line == "@register"]
    assert len(decorated) == len(shipped_methods()) >= 10
    for name, entry in shipped_methods().items():
        assert entry.load().name == name


class WithoutChannels(methods.Method):
    name = "without-channels"
    title = "Without channels"

    def __init__(self, *, scale: float = 1.0) -> None:
        super().__init__()
        self.scale = scale


class OfTheTeacherOnly(WithoutChannels):
    name = "of-the-teacher-only"

    def __init__(self, teacher_channels: list[int]) -> None:
        super().__init__()
        self.channels = teacher_channels


def test_a_method_gets_the_channels_that_it_asks_for(clean_registry):
    register(WithoutChannels)
    register(OfTheTeacherOnly)
    assert build_method("without-channels", **CHANNELS, scale=2.0).scale == 2.0
    assert build_method("of-the-teacher-only", **CHANNELS).channels == [4, 8]


@pytest.mark.parametrize(
    ("name", "options", "weight"),
    [
        ("dcd", {}, 0.05),
        ("dcd-release", {}, 0.01),
        ("feature", {}, 0.05),
        ("freekd", {}, 1),
        ("cwd", {}, 3),
        ("cwd", {"match": "encoder"}, 50),
        ("ifvd", {}, 200),
        ("at", {}, 1),
        ("at", {"reduction": "mean"}, 1000),
        ("dist", {}, 1),
        ("cirkd", {}, 1),
        ("cirkd", {"match": "encoder"}, 0.1),
        ("emkd", {}, 1),
        ("reco-kd", {}, 0.01),
        ("logits", {}, None),
        ("none", {}, None),
    ],
)
def test_weight_in_the_source(name, options, weight):
    assert build_method(name, **CHANNELS, **options).source_weight == weight
    if not options:
        assert METHODS[name].source_weight == weight


def test_table_has_every_method_and_a_row_for_an_option_that_changes_what_is_compared():
    rows = table().splitlines()
    assert all(any(row.startswith(f"| [`{name}`](methods/{name}.md) | ") for row in rows) for name in METHODS)
    assert "| `cwd`, `match=encoder` | CWD | where each channel is active | encoder stages | yes | 50 |" in rows
    assert (
        "| `at`, `reduction=mean` | Attention transfer | where a stage is active | encoder stages | no | 1000 |" in rows
    )
    assert any(row.startswith("| [`dcd-release`]") and row.endswith(" | not trained | 0.01 |") for row in rows)
    assert any(row.startswith("| `cirkd`, `match=encoder` | CIRKD | ") for row in rows)
    assert any(row.startswith("| `dcd`, `match=decoder` |") and row.endswith(" | decoder | yes | – |") for row in rows)
    assert len(rows) == 2 + len(METHODS) + 5


def test_loss_of_a_registered_method_has_a_gradient(install):
    install("my-methods", METHOD, {"direction": "Direction"})
    method = build_method("direction", **CHANNELS).double()
    student = of_network([2, 4], gradient=True)
    method(student, of_network([4, 8], seed=5)).backward()
    assert all(torch.isfinite(x.grad).all() for x in student.encoder)
