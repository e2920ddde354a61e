"""Models take turns in processes of their own, and people and programs can read the result."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import ClassVar

import numpy as np
import psutil
import pytest
import SimpleITK

from nndistill.benchmark import commands
from nndistill.benchmark import models as module
from nndistill.benchmark.candidates import Candidate, find_candidates
from nndistill.benchmark.models import benchmark
from nndistill.benchmark.worker import MeasuredModel, ModelAndCase, Run
from nndistill.errors import UnknownName, UserError
from nndistill.reporting import Cost
from nndistill.runtime.cases import InputCase


@pytest.fixture(scope="module")
def case(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with one case of two channels, larger than a window."""
    folder = tmp_path_factory.mktemp("case")
    random = np.random.default_rng(0)
    for channel in range(2):
        noise = SimpleITK.GetImageFromArray(random.standard_normal((20, 30, 12)).astype(np.float32) + 4)
        SimpleITK.WriteImage(noise, folder / f"head_{channel:04d}.nii.gz")
    return folder


@pytest.fixture
def onnx(small) -> Path:
    return small.folders["onnx"]


def test_every_model_is_measured_with_every_backend_that_computes_it(nndistill, small, case, tmp_path):
    result = nndistill(
        "benchmark",
        *(f"A={small.folders['onnx']}", f"B={small.folders['openvino']}", "--input", case, "--rounds", 5),
        *("--backend", "onnxruntime", "--backend", "openvino", "--out", tmp_path, "--json"),
    )
    assert result.status == 0, result.err
    numbers = json.loads(result.out)
    assert numbers == json.loads((tmp_path / "benchmark.json").read_text())
    about = numbers.pop("benchmark")
    assert {name: made["backend"] for name, made in numbers.items()} == {
        "A (onnxruntime)": "onnxruntime",
        "A (openvino)": "openvino",
        "B": "openvino",
    }
    for made in numbers.values():
        assert len(made["patch_s"]) == 5
        assert made["patch_latency_s"] == pytest.approx(np.median(made["patch_s"]))
        assert made["patch_speed"] == pytest.approx(
            np.median(numbers["A (onnxruntime)"]["patch_s"]) / made["patch_latency_s"]
        )
        assert made["latency_s"] == pytest.approx(np.median(made["case_s"]))
        assert made["versions"][made["backend"]]
        assert made["disk_bytes"] > 10_000
    assert (about["case"], about["case_voxels"], about["rounds"]) == ("head", 20 * 30 * 12, 5)
    assert about["machine"]["cores"] == len(os.sched_getaffinity(0))
    assert about["machine"]["memory_bytes"] == psutil.virtual_memory().total
    assert about["machine"]["processor"]
    assert {file.suffix for file in tmp_path.iterdir()} == {".json", ".md", ".tex", ".csv", ".pdf", ".svg", ".png"}


def test_report_takes_what_was_measured_as_costs_of_a_model(nndistill, onnx, case, tmp_path):
    assert nndistill("benchmark", onnx, "--input", case, "--rounds", 1, "--out", tmp_path).status == 0
    made = json.loads((tmp_path / "benchmark.json").read_text())[onnx.name]
    cost = Cost(1, 1, 1, **{key: made[key] for key in ("latency_s", "memory_bytes", "measured_on")})
    assert cost.latency_s > 0
    assert "onnxruntime" in cost.measured_on


def test_memory_is_that_of_the_model_alone(small, case):
    """This process holds PyTorch, the model's does not."""
    here = psutil.Process().memory_info().rss
    with MeasuredModel(small.folders["openvino"], case, backend="openvino") as model:
        before = model.peak_memory()
        model.measure_patch()
        model.measure_case(mirror=True)
        assert 50e6 < before <= model.peak_memory() < here


@pytest.mark.parametrize("backend", ["onnxruntime", "openvino"])
def test_model_that_waits_takes_no_processor_time(onnx, case, backend):
    with MeasuredModel(onnx, case, backend=backend) as model:
        model.measure_patch()
        process = psutil.Process(model.pid)
        before = process.cpu_times()
        time.sleep(1)
        after = process.cpu_times()
    assert after.user + after.system - before.user - before.system < 0.1


def test_processes_end_with_the_measurement(onnx, case):
    with MeasuredModel(onnx, case, backend="onnxruntime") as model:
        assert psutil.pid_exists(model.pid)
    assert not psutil.pid_exists(model.pid)


class _Recorder:
    """Stands in for `MeasuredModel`: pretends to take a given time, and keeps the order of calls."""

    calls: ClassVar[list[tuple[str, str]]] = []
    loaded: ClassVar = ModelAndCase(
        facts={"backend": "onnxruntime", "versions": {}},
        case=InputCase("head", {0: Path("head_0000.nii.gz")}),
        case_voxels=1000,
        file_ending=".nii.gz",
        warnings=["it is small."],
    )

    def __init__(self, path: Path, *arguments: object, **options: object) -> None:
        self._name = path.name

    def __enter__(self):
        return self

    def __exit__(self, *error: object) -> None:
        pass

    def measure_patch(self) -> Run:
        self.calls.append((self._name, "patch"))
        return Run(1.0, 1.5)

    def measure_case(self, *, mirror: bool) -> Run:
        self.calls.append((self._name, "case"))
        return Run({"slow": 50.0, "fast": 20.0}[self._name], 1.0)

    def peak_memory(self) -> int:
        return 1


def test_models_take_turns_and_predict_the_case_as_often_as_the_budget_allows(monkeypatch):
    monkeypatch.setattr(module, "MeasuredModel", _Recorder)
    monkeypatch.setattr(module, "_of_folder", lambda path, fold: (1, None, None))
    monkeypatch.setattr(_Recorder, "calls", [])
    steps: list[tuple[int, int]] = []
    candidates = [Candidate(name, Path(name), "onnxruntime") for name in ("slow", "fast")]
    made = benchmark(candidates, Path(), rounds=2, case_seconds=100, progress=lambda *step: steps.append(step))
    patches = [name for name, what in _Recorder.calls if what == "patch"]
    cases = [name for name, what in _Recorder.calls if what == "case"]
    assert patches == ["slow", "fast"] * 3
    assert cases == ["slow", "fast"] + ["slow", "fast"] + ["fast"]
    assert [len(costs.patch.seconds) for costs in made.models] == [2, 2]
    assert [len(costs.case.seconds) for costs in made.models] == [1, 2]
    assert made.models[0].busy_cores == 1.5
    assert made.case == _Recorder.loaded.case
    assert [note for note in made.notes if note.endswith("it is small.")] == [
        "slow: it is small.",
        "fast: it is small.",
    ]
    assert steps[-1] == (len(_Recorder.calls), len(_Recorder.calls))


def test_folds_are_chosen_of_model_folders_and_an_export_holds_its_own(monkeypatch, onnx):
    given = {}

    class Recorder(_Recorder):
        def __init__(self, path: Path, *arguments: object, **options: object) -> None:
            super().__init__(path)
            given[path.name] = options["fold"]

    monkeypatch.setattr(module, "MeasuredModel", Recorder)
    monkeypatch.setattr(module, "_of_folder", lambda path, fold: (1, None, None))
    candidates = [Candidate("trained", Path("trained"), "torch"), Candidate("exported", onnx, "onnxruntime")]
    benchmark(candidates, Path(), rounds=1, case=False, fold=["0", "1"])
    assert given == {"trained": ["0", "1"], "onnx": None}


def test_candidates_are_named_by_folder_or_as_told(small):
    folder = small.folders["onnx"]
    assert find_candidates([str(folder)])[0].name == folder.name
    assert find_candidates([f"My student={folder}"])[0] == Candidate("My student", folder, "onnxruntime")
    assert find_candidates([str(small.folders["openvino"])], ["onnxruntime"])[0].backend == "openvino"


@pytest.mark.parametrize(
    ("given", "backends", "error", "sentence"),
    [
        (["{onnx}", "{onnx}"], [], UserError, "two models are named 'onnx'; tell them apart: NAME="),
        (["A={onnx}"], ["openvino", "tensorrt"], UnknownName, "there is no backend 'tensorrt'"),
        (["nowhere"], [], UserError, "there is no folder nowhere"),
        (["=x"], [], UserError, "=x is not of the form NAME=MODEL"),
    ],
)
def test_mistake_in_a_model_is_a_sentence(onnx, given, backends, error, sentence):
    with pytest.raises(error, match=sentence):
        find_candidates([text.format(onnx=onnx) for text in given], backends)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--metrics", "B=metrics.csv"], "there is no model 'B'"),
        (["--metrics", "metrics.csv"], "not of the form NAME=metrics.csv"),
        (
            ["--stock"],
            "stock nnU-Net needs an nnU-Net model folder, and none of the models is one. See the option --stock.",
        ),
        (["--device", "toaster"], "toaster"),
    ],
)
def test_mistake_in_an_option_is_a_sentence(nndistill, onnx, case, tmp_path, options, sentence):
    result = nndistill("benchmark", f"A={onnx}", "--input", case, "--out", tmp_path, *options)
    assert result.status == 2
    assert sentence in result.err
    assert not list(tmp_path.iterdir())


def test_a_place_that_cannot_be_written_is_refused_before_anything_is_measured(nndistill, onnx, case, monkeypatch):
    monkeypatch.setattr(module, "benchmark", lambda *_, **__: pytest.fail("it measures"))
    result = nndistill("benchmark", onnx, "--input", case, "--out", "/dev/null/results")
    assert result.status == 2
    assert "cannot write /dev/null/results/benchmark.json: Not a directory" in result.err


def test_what_is_measured_is_kept_if_a_command_fails(nndistill, onnx, case, tmp_path, monkeypatch):
    failing = commands.Command("A, stock nnU-Net", ("false",))
    monkeypatch.setattr(commands, "commands_for", lambda *_, **__: [failing])
    options = ("--rounds", 1, "--no-case", "--stock", "--out", tmp_path)
    result = nndistill("benchmark", f"A={onnx}", "--input", case, *options)
    assert result.status == 2
    assert "false failed with status 1" in result.err
    assert json.loads((tmp_path / "benchmark.json").read_text())["A"]["patch_latency_s"] > 0


def test_stock_nnunet_that_is_not_installed_is_a_sentence(nndistill, world, tmp_path, monkeypatch):
    monkeypatch.setattr(commands, "STOCK", "nnUNetv3_predict")
    student = world.results / "nnUNetTrainerDistill__student__3d_fullres"
    result = nndistill("benchmark", student, "--input", world.dataset / "imagesTs", "--out", tmp_path, "--stock")
    assert result.status == 2
    assert "nnUNetv3_predict is not found, which stock nnU-Net predicts with: install nnunetv2." in result.err


def test_one_case_is_measured_and_several_are_refused(onnx, case, tmp_path):
    for file in case.iterdir():
        for name in ("one", "two"):
            (tmp_path / file.name.replace("head", name)).symlink_to(file)
    with pytest.raises(UserError, match=r"holds 2 cases; measure one of them, such as .*one_0000") as error:
        MeasuredModel(onnx, tmp_path, backend="onnxruntime")
    assert error.value.flags == ["--input"]
    with MeasuredModel(onnx, tmp_path / "two_0000.nii.gz", backend="onnxruntime") as model:
        assert model.loaded.case.name == "two"


def test_model_killed_for_its_memory_is_a_sentence(onnx, case):
    with MeasuredModel(onnx, case, backend="onnxruntime") as model:
        os.kill(model.pid, signal.SIGKILL)
        with pytest.raises(UserError, match="was killed, most likely because the machine's memory was not enough"):
            model.measure_patch()


def test_missing_runtime_is_reported_as_missing(onnx, case, monkeypatch, tmp_path):
    (tmp_path / "onnxruntime.py").write_text("raise ModuleNotFoundError('hidden', name='onnxruntime')")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ModuleNotFoundError) as error:
        MeasuredModel(onnx, case, backend="onnxruntime")
    assert error.value.name == "onnxruntime"


def test_processes_do_not_import_the_main_module(onnx, case, tmp_path):
    """What a user's script imports would count as the model's memory, and a script without a guard would run again."""
    script = tmp_path / "script.py"
    script.write_text(
        "from pathlib import Path\n"
        "from nndistill.benchmark.worker import MeasuredModel\n"
        "print('run')\n"
        f"with MeasuredModel(Path({str(onnx)!r}), Path({str(case)!r}), backend='onnxruntime') as model:\n"
        "    print(model.loaded.case.name)\n"
    )
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["run", "head"]


def test_what_the_process_prints_stays_in_it_unless_it_fails(onnx, case, monkeypatch, tmp_path, capfd):
    (tmp_path / "onnxruntime.py").write_text(
        "import os; print('hello'); os.write(2, b'native library: '); os.write(1, b'illegal instruction'); os._exit(4)"
    )
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(RuntimeError, match=r"measuring .*onnx failed:\n(?s:.*)native library: illegal instruction"):
        MeasuredModel(onnx, case, backend="onnxruntime")
    assert capfd.readouterr() == ("", "")


def test_idle_threads_of_the_process_sleep_unless_the_user_decides(onnx, case, monkeypatch):
    for given, used, looks in ((None, "PASSIVE", "5000"), ("ACTIVE", "ACTIVE", None)):
        for name in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT"):
            monkeypatch.delenv(name, raising=False)
        if given:
            monkeypatch.setenv("OMP_WAIT_POLICY", given)
        with MeasuredModel(onnx, case, backend="onnxruntime") as model:
            assert model._run(os.getenv, "OMP_WAIT_POLICY") == used
            assert model._run(os.getenv, "GOMP_SPINCOUNT") == looks
        assert os.environ.get("OMP_WAIT_POLICY") == given


@pytest.mark.slow
def test_stock_nnunet_is_measured_beside_our_command(nndistill, world, tmp_path):
    """Memory is that of all processes of a command, of which stock nnU-Net has several."""
    student = world.results / "nnUNetTrainerDistill__student__3d_fullres"
    result = nndistill(
        *("benchmark", f"Student={student}", "--input", world.dataset / "imagesTs", "--out", tmp_path, "--json"),
        *("--stock", "--no-mirror", "--rounds", 1, "--case-seconds", 0, "--device", "cpu"),
    )
    assert result.status == 0, result.err
    numbers = json.loads(result.out)
    stock, ours = numbers["benchmark"]["commands"].values()
    assert list(numbers["benchmark"]["commands"]) == ["Student, stock nnU-Net", "Student"]
    assert "nnUNetv2_predict_from_modelfolder" in stock["command"]
    assert "--disable_tta" in stock["command"]
    assert "--no-mirror" in ours["command"]
    assert stock["memory_bytes"] > ours["memory_bytes"] > numbers["Student"]["memory_bytes"] / 2
    assert ours["case_speed"] == pytest.approx(stock["latency_s"] / ours["latency_s"])
    assert numbers["Student"]["parameters"] > 1000
    assert numbers["Student"]["flops_patch"] > 1e6
