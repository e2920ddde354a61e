"""The lines after `Next:`, pasted into a real shell."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

_PROGRAMS = ("nndistill", "nnUNetv2_predict_from_modelfolder", "nnUNetv2_install_pretrained_model_from_zip")
_VARIABLES = ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results")


@dataclass(frozen=True)
class Pasted:
    """What a program was called with.

    Args:
        words: The name of the program and its arguments.
        folders: nnU-Net's variables as the program found them.
    """

    words: list[str]
    folders: dict[str, str]


def next_line(output: str) -> str:
    """The one line to paste that a command printed."""
    (line,) = re.findall(r"^Next: *(.*)$", output, flags=re.MULTILINE)
    return str(line)


def paste(line: str, folder: Path) -> Pasted:
    """Run a line in bash, where the programs only say what they were called with."""
    programs = folder / "programs"
    programs.mkdir(exist_ok=True)
    report = (
        "import json, os, sys\n"
        f"folders = {{name: os.environ[name] for name in {_VARIABLES} if name in os.environ}}\n"
        "print(json.dumps([os.path.basename(sys.argv[0]), *sys.argv[1:]]))\nprint(json.dumps(folders))\n"
    )
    for name in _PROGRAMS:
        (programs / name).write_text(f"#!{sys.executable}\n{report}")
        (programs / name).chmod(0o755)
    environment = {**os.environ, "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}"}
    done = subprocess.run(["bash", "-c", line], env=environment, capture_output=True, text=True, check=True)
    words, folders = map(json.loads, done.stdout.splitlines())
    return Pasted(words, folders)
