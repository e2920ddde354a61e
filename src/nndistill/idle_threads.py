"""How long OpenMP's threads look for work before they sleep, settled before PyTorch is imported.

A step of a training consists of some thousand parallel pieces of less than a millisecond. A thread that sleeps between
two of them has to be woken, which takes about as long as a small piece; a thread that looks for work for long keeps its
core from whatever else runs. A short look gives most of both.
"""

from __future__ import annotations

from collections.abc import Mapping

LOOKS = 5000
"""How often a thread of GNU's OpenMP looks before it sleeps: some microseconds. By itself it looks 300,000 times."""

_POLICY, _GNU = "OMP_WAIT_POLICY", "GOMP_SPINCOUNT"


def idle_threads_sleep(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the variables that let idle threads sleep soon, to be set before a library that uses OpenMP is loaded.

    GNU's OpenMP, with which PyTorch is built for Linux, reads the number of looks and ignores the policy; others read
    the policy alone.

    Args:
        environment: Variables that are set. A user who has set one of the two has decided.

    Example:
        >>> idle_threads_sleep({})
        {'OMP_WAIT_POLICY': 'PASSIVE', 'GOMP_SPINCOUNT': '5000'}
        >>> idle_threads_sleep({"OMP_WAIT_POLICY": "ACTIVE"})
        {}
    """
    if _POLICY in environment or _GNU in environment:
        return {}
    return {_POLICY: "PASSIVE", _GNU: str(LOOKS)}
