"""A batch script of Slurm that trains one run of a study on several machines, with `torchrun`."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path

from ..files import write_file
from .definition import Resources

_SCRIPT = """\
#!/bin/bash
# Trains one run of this study on several machines: sbatch --nodes N {file} RUN
# `nndistill study status` lists the runs; what each machine contributes is below.
#SBATCH --job-name=nndistill
#SBATCH --ntasks-per-node=1
#SBATCH --cpus-per-task={cpus}{gpus}
#SBATCH --mem={mem_mb}M
#SBATCH --time={minutes}
#SBATCH --requeue
set -euo pipefail
run=${{1:?name a run}}
head=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
export OMP_NUM_THREADS={threads} nnUNet_def_n_proc={threads}
srun {python} -m torch.distributed.run --nnodes "$SLURM_NNODES" --nproc-per-node {processes} \\
  --rdzv-backend c10d --rdzv-id "$SLURM_JOB_ID" --rdzv-endpoint "$head:29500" \\
  {command} "$run"
"""


def write_sbatch(file: Path, resources: Resources, command: Sequence[str]) -> None:
    """Write the script, with one process per GPU, or with two processes per machine if the study uses no GPU.

    Args:
        file: The script.
        resources: What the study asks of one machine.
        command: The command that carries out a run, without the run's name, the interpreter first.
    """
    processes = resources.gpus or min(2, resources.cpus)
    python, *rest = command
    script = _SCRIPT.format(
        file=shlex.quote(str(file)),
        cpus=resources.cpus,
        gpus=f"\n#SBATCH --gpus-per-node={resources.gpus}" if resources.gpus else "",
        mem_mb=round(1000 * resources.memory_gb),
        minutes=round(60 * resources.hours),
        threads=max(1, resources.cpus // processes),
        python=shlex.quote(python),
        processes=processes,
        command=shlex.join(rest),
    )
    write_file(file, script.encode())
