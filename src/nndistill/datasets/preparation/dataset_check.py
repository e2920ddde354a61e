"""Check all cases of a data set: several at a time, no unchanged case twice, and each against all others."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed

from ...runtime.machine import usable_cores
from ..source import Case
from .case_check import Finding, Rules, check_case, fingerprint


def check_cases(
    cases: Sequence[Case],
    rules: Rules,
    *,
    known: Mapping[str, Finding] | None = None,
    jobs: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, Finding]:
    """Check every case.

    Args:
        cases: Cases, no two of one name.
        rules: What they have to comply with.
        known: Findings of an earlier check by the same rules; cases whose files have not changed since are not read.
        jobs: Cases to read at a time; default: one per processor core, at most 8.
        progress: Called with the number of checked cases and of all.

    Returns:
        The finding of each case, by name, in the order of the cases.
    """
    known = known or {}
    report = progress or (lambda done, total: None)
    findings = {
        case.name: known[case.name]
        for case in cases
        if case.name in known and known[case.name].files == fingerprint(case)
    }
    report(len(findings), len(cases))
    # threads: reading and decompressing do not hold the interpreter's lock
    with ThreadPoolExecutor(jobs or processors()) as pool:
        begun = {pool.submit(check_case, case, rules): case.name for case in cases if case.name not in findings}
        try:
            for finished in as_completed(begun):
                findings[begun[finished]] = finished.result()
                report(len(findings), len(cases))
        finally:
            pool.shutdown(cancel_futures=True)
    return {case.name: findings[case.name] for case in cases}


def duplicates(digests: Mapping[str, Mapping[str, str]], *, last: Collection[str] = ()) -> dict[str, list[str]]:
    """Find images that occur more than once, within a case or in two cases: one sentence for each but the first.

    Args:
        digests: The digests of the images of each case, by case name and path.
        last: Cases that only count as the original if no other case has the image.

    Returns:
        Sentences by the names of the cases that have any.
    """
    first: dict[str, tuple[str, str]] = {}
    copies: dict[str, list[str]] = {}
    for name in sorted(digests, key=lambda name: name in last):
        for path, digest in digests[name].items():
            other, original = first.setdefault(digest, (name, path))
            if path != original:
                of = "" if other == name else f" of the case {other}"
                copies.setdefault(name, []).append(f"{path} holds the same voxels as {original}{of}.")
    return copies


def processors() -> int:
    """Count the threads to read with: more would hold many large images in memory."""
    return min(8, usable_cores())
