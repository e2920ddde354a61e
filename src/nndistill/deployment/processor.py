"""The processor's name, for people."""

from __future__ import annotations

import platform
from pathlib import Path


def processor_name() -> str:
    """Such as `AMD EPYC 9554 64-Core Processor`; the architecture where the system does not tell."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(named, platform.machine())
