"""Which fold a report is about is asked before anything is imported that takes long."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from nndistill.errors import UserError
from nndistill.nnunet.models.trained_folds import common_folds, refuse_several_folds, trained_folds


def model(folder: Path, *folds: str) -> Path:
    for fold in folds:
        (folder / f"fold_{fold}").mkdir(parents=True)
        (folder / f"fold_{fold}" / "checkpoint_final.pth").touch()
    return folder


def test_folds_that_models_have_in_common(tmp_path: Path) -> None:
    one, other = model(tmp_path / "one", "0", "2", "all"), model(tmp_path / "other", "0", "1")
    (one / "fold_3").mkdir()

    assert trained_folds(one) == ["0", "2", "all"]
    assert common_folds([one, other]) == ["0"]
    refuse_several_folds([one, other])
    refuse_several_folds([other, tmp_path / "none"])


def test_predictions_leave_the_fold_little_to_decide(tmp_path: Path) -> None:
    one = model(tmp_path, "0", "1")

    with pytest.raises(UserError, match=r"the folds 0, 1; choose one of them\.$"):
        refuse_several_folds([one, one])
    with pytest.raises(UserError, match="it decides only whose checkpoint, curves and log are shown"):
        refuse_several_folds([one, one], predictions=True)


def test_a_report_asks_for_the_fold_before_it_imports_pytorch(tmp_path: Path) -> None:
    folder = model(tmp_path, "0", "1")
    program = (
        "import sys; from nndistill.cli import main\n"
        f"try: main(['report', {str(folder)!r}])\n"
        "except SystemExit as stop: assert stop.code == 2\n"
        "assert 'torch' not in sys.modules and 'pandas' not in sys.modules"
    )

    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=dict(os.environ))

    assert done.returncode == 0, done.stderr
    assert "all models have the folds 0, 1; choose one of them." in done.stderr
    assert "--fold" in done.stderr
