"""What a training reports to Weights & Biases and to MLflow, both real and installed by the slow test."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from nndistill.nnunet.models.checkpoints import read_checkpoint
from nndistill.nnunet.training import tracking
from processes import kill_with_children, wait_until
from tiny import TINY

ITEMS = ["train_losses", "distillation_losses", "gradient_shares", "distillation_weights", "lrs"]

READ_WANDB = """
import json, struct, sys
from pathlib import Path
from wandb.proto.wandb_internal_pb2 import Record

BLOCK, HEADER = 32768, 7  # the log format of LevelDB: blocks of chunks, each with checksum, length and kind


def records(content):
    place, parts = HEADER, b""
    while place + HEADER <= len(content):
        if (rest := BLOCK - place % BLOCK) < HEADER:
            place += rest
            continue
        _, length, kind = struct.unpack_from("<IHB", content, place)
        parts += content[place + HEADER : place + HEADER + length]
        place += HEADER + length
        if kind in (1, 4):  # a whole record, or the last part of one
            yield parts
            parts = b""


values = {}
for file in sys.argv[1:]:
    for data in records(Path(file).read_bytes()):
        record = Record()
        record.ParseFromString(data)
        if record.WhichOneof("record_type") == "history":
            items = {i.key or "/".join(i.nested_key): json.loads(i.value_json) for i in record.history.item}
            for key in set(items) - {"_step", "_runtime", "_timestamp"}:
                values.setdefault(key, {})[record.history.step.num] = items[key]
print(json.dumps(values))
"""

READ_MLFLOW = """
import json, sys
from mlflow import MlflowClient
client, items = MlflowClient(), sys.argv[1:]
(experiment,) = [e for e in client.search_experiments() if e.name == "nndistill"]
(run,) = client.search_runs([experiment.experiment_id])
print(json.dumps({
    "status": run.info.status,
    "artifacts": sorted(file.path for file in client.list_artifacts(run.info.run_id)),
    **{key: {m.step: m.value for m in client.get_metric_history(run.info.run_id, key)} for key in items},
}))
"""


@pytest.fixture
def restored_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (tracking.WANDB, tracking.MLFLOW, "nnUNet_wandb_project", "MLFLOW_TRACKING_URI"):
        monkeypatch.setenv(name, "0")
        monkeypatch.delenv(name)


@pytest.mark.parametrize("command", ["teach", "distill"])
def test_unknown_tracker_and_missing_package_are_a_sentence(nndistill, command, monkeypatch, tmp_path):
    unknown = nndistill(command, "900", "--workspace", tmp_path, "--track", "tensorboard")
    assert unknown.status == 2
    assert "there is no tracker 'tensorboard'. Known: mlflow, wandb. See the option --track." in unknown.err
    monkeypatch.setattr(tracking, "find_spec", lambda name: None)
    missing = nndistill(command, "900", "--workspace", tmp_path, "--track", "mlflow:somewhere")
    assert missing.status == 2
    assert "mlflow is not installed: pip install mlflow" in missing.err


@pytest.mark.usefixtures("restored_environment")
def test_environment_says_what_tracks_until_a_further_process_stops_it(monkeypatch):
    monkeypatch.setattr(tracking, "find_spec", lambda name: object())
    tracking.track("wandb:livers")
    tracking.track("mlflow:https://host:5000/path")
    assert os.environ["nnUNet_wandb_enabled"] == "1"
    assert os.environ["nnUNet_wandb_project"] == "livers"
    assert os.environ["MLFLOW_TRACKING_URI"] == "https://host:5000/path"
    tracking.stop_tracking()
    assert os.environ["nnUNet_wandb_enabled"] == "0"
    assert tracking.further_trackers(Path(), {}, resume=False) == []


class _Server:
    """Stands for MLflow's client, and for a server that goes away."""

    def __init__(self) -> None:
        self.there, self.values, self.asked = True, [], 0

    def get_experiment_by_name(self, name: str) -> None:
        return None

    def create_experiment(self, name: str) -> str:
        return "1"

    def create_run(self, experiment: str, run_name: str) -> SimpleNamespace:
        return SimpleNamespace(info=SimpleNamespace(run_id="run"))

    def log_dict(self, run: str, content: dict, file: str) -> None:
        self.log_metric(run, file, 0.0, step=0)

    def set_terminated(self, run: str) -> None:
        self.log_metric(run, "ended", 1.0, step=0)

    def log_metric(self, run: str, key: str, value: float, *, step: int) -> None:
        self.asked += 1
        if not self.there:
            raise ConnectionError("max retries exceeded")
        self.values.append((key, value, step))


def test_a_server_that_goes_away_does_not_end_the_training(tmp_path, monkeypatch, caplog):
    server = _Server()
    monkeypatch.setitem(sys.modules, "mlflow", SimpleNamespace(MlflowClient=lambda: server))
    monkeypatch.setattr(tracking.atexit, "register", lambda *call: at_exit.append(call))
    at_exit: list = []
    run = tracking.MlflowRun(tmp_path, {}, resume=False)
    run.log("lrs", 0.5, 0)
    server.there = False
    run.update_config({"hparas": 1})  # as nnU-Net does when it sets up the network
    for epoch in (1, 2, 3):
        run.log("lrs", 0.5, epoch)
    ((end, *arguments),) = at_exit
    end(*arguments)
    assert server.values == [("lrs", 0.5, 0)]
    assert server.asked == 2, "each further value would wait for as long"
    assert len(caplog.records) == 1
    assert "can no longer be reached (max retries exceeded); the training continues without it" in caplog.text


@pytest.fixture(scope="module")
def trackers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of both packages, which need not be installed otherwise."""
    folder = tmp_path_factory.mktemp("trackers")
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "install", "--quiet", "--target", folder]
    done = subprocess.run(
        [*pip, "wandb", "mlflow-skinny", "sqlalchemy", "alembic"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return folder


@pytest.mark.slow
def test_both_trackers_get_every_epoch_of_a_resumed_distillation_in_one_run_each(
    world, environment, trackers, tmp_path
):
    path = os.pathsep.join(filter(None, [os.environ.get("PYTHONPATH"), str(trackers)]))
    tracked = {**environment, "PYTHONPATH": path, "nnUNet_wandb_mode": "offline"}
    store = f"sqlite:///{tmp_path}/mlflow.db"

    fold = world.results / "nnUNetTrainerDistill__tracked__3d_fullres" / "fold_0"
    latest, final = fold / "checkpoint_latest.pth", fold / "checkpoint_final.pth"

    def start(*more: str, store: str = store) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "nndistill", "distill", str(world.teacher), "--name", "tracked", *TINY, *more]
        command += ["--epochs", "5", "--no-validate", "--track", "wandb", "--track", f"mlflow:{store}"]
        streams = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE}
        return subprocess.Popen(command, env=tracked, cwd=tmp_path, text=True, **streams)

    def read(script: str, *arguments: object) -> dict[str, dict[str, float]]:
        command = [sys.executable, "-c", script, *map(str, arguments)]
        environment = {**tracked, "MLFLOW_TRACKING_URI": store}
        done = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    refused = start(store=(tmp_path / "folder").as_uri())  # MLflow no longer keeps runs in folders
    said = " ".join(refused.communicate(timeout=900)[1].split())
    assert refused.returncode == 2, said
    assert "cannot keep this training" in said
    assert "filesystem" in said

    killed = start("--resume")
    begun = wait_until(lambda: latest.is_file() and read_checkpoint(latest)["current_epoch"] >= 2, killed)
    assert begun, killed.communicate()[1]
    kill_with_children(killed)
    resumed = start("--resume")
    said = resumed.communicate(timeout=900)[1]
    assert resumed.returncode == 0, said
    log = read_checkpoint(final)["logging"]

    files = sorted((fold / "wandb").glob("offline-run-*/*.wandb"))
    assert len({file.stem for file in files}) == 1, "one run, continued"
    in_wandb, in_mlflow = read(READ_WANDB, *files), read(READ_MLFLOW, *ITEMS)
    for key in ITEMS:
        logged = {str(epoch): pytest.approx(value) for epoch, value in enumerate(log[key])}
        assert len(logged) == 5
        assert in_wandb[key] == {epoch: logged[epoch] for epoch in in_wandb[key]}
        assert {"3", "4"} <= set(in_wandb[key]), "what W&B had not written when it was killed is lost, and no more"
        assert in_mlflow[key] == logged
    assert in_mlflow["status"] == "FINISHED"
    assert in_mlflow["artifacts"] == ["configuration.json", "dataset.json", "fold.json", "hparas.json", "plans.json"]
