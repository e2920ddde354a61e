"""From a download to nnU-Net's raw format: check, place, split, report; what is done is not done again."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Literal

from ...errors import UserError
from ...files import update_json
from ...nnunet.data.raw import dataset_folder, write_dataset_json
from ..provenance import RECORD, check_claimable, claim
from ..source import Source
from .case_check import Finding, Rules, names_by_value, unfit_content
from .case_plan import Placing, place
from .checking import check_cases, duplicates, processors
from .report import REPORT, Report, known_findings
from .splits import Fold, check_split, make_split


class DamagedData(UserError):
    """Cases that cannot be used; the report lists them all."""

    def __init__(self, report: Report) -> None:
        total = len({*report.damage, *(case.name for case in report.source.cases)})
        first = next(iter(report.damage.values()))[0]
        super().__init__(
            f"{len(report.damage)} of {total} cases cannot be used. The first: {first} Mend them, or leave them out "
            f"with --on-error skip; all are listed in {report.path}."
        )
        self.report = report


def prepare(
    source: Source,
    raw: Path,
    *,
    dataset_id: int,
    split: str = "patient",
    on_error: Literal["stop", "skip"] = "stop",
    copy: bool = False,
    jobs: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Report:
    """Make a data set of nnU-Net; no case is written before all are checked.

    Sound files stay where they are, and `dataset.json` names their paths. Called again, it does nothing; after a kill,
    what is missing; when files have changed, what depends on them.

    Args:
        source: What `find_brats2024`, `find_isles2022` or `find_decathlon` found.
        raw: nnU-Net's raw folder.
        dataset_id: Number of the new data set, from 1 to 999.
        split: `patient`, `nnunet`, or a file: see `make_split`.
        on_error: Whether damaged cases stop it or are left out.
        copy: Copy all files, so that the data set does not depend on where the download is.
        jobs: Cases to work on at a time; default: one a processor core, at most 8.
        progress: Called with the number of finished steps and of all; each case is checked, then written.

    Returns:
        The report, which is also in the data set's folder.

    Raises:
        DamagedData: Cases are damaged, and `on_error` is `stop`.
        UserError: No case is left, the folder or the number is taken, the split does not fit, the disk is full.
    """
    folder = _free_folder(Path(raw), dataset_id, source.name)
    check_split(split)
    steps = 2 * len(source.cases)
    tell = progress or (lambda done, total: None)
    rules = Rules.of(source)
    known = known_findings(folder / REPORT, rules)
    findings = check_cases(source.cases, rules, known=known, jobs=jobs, progress=lambda done, total: tell(done, steps))
    report = Report(folder, source, findings, _damage(source, findings), split)
    sound = [case for case in source.cases if case.name not in report.damage]
    patients = {case.name: case.patient for case in sound if case.label}
    stop = bool(report.damage) and (on_error == "stop" or not patients)
    if stop or findings != known:  # whatever comes next, nothing has to be read again
        if not (folder / RECORD).exists():
            claim(folder, {"maker": source.maker}, {})
        report.save()
    if stop:
        raise DamagedData(report)

    folds = make_split(split, patients, left_out=list(report.damage))
    placings = [place(case, findings[case.name], folder, source, copy=copy) for case in sound]
    files = {
        making.target: [making.way, source.onto, findings[placing.name].files]
        for placing in placings
        for making in placing.makings
    }
    missing = set(claim(folder, {"maker": source.maker}, files))
    with ThreadPoolExecutor(jobs or processors()) as pool:
        try:
            written = pool.map(lambda placing: _write(placing, missing), placings)
            for done, _ in enumerate(written, start=steps - len(placings) + 1):
                tell(done, steps)
        finally:
            pool.shutdown(cancel_futures=True)
    _describe(folder, source, [placing for placing in placings if placing.label], folds)
    report = replace(report, folds=folds, made=len(files), prepared=True)
    report.save()
    return report


def _free_folder(raw: Path, dataset_id: int, name: str) -> Path:
    folder = dataset_folder(raw, dataset_id, name)
    others = sorted(path.name for path in raw.glob(f"Dataset{dataset_id:03d}_*") if path != folder)
    if others:
        raise UserError(f"the number {dataset_id} is taken by {raw / others[0]}: choose another --dataset-id.")
    check_claimable(folder)
    return folder


def _damage(source: Source, findings: Mapping[str, Finding]) -> dict[str, list[str]]:
    """All that speaks against each case: what its check found, what it holds, and equal images elsewhere."""
    values = names_by_value(source.labels)
    damage = {name: [sentence] for name, sentence in source.unusable.items()}
    for case in source.cases:
        found = findings[case.name]
        sentences = found.damage + unfit_content(case, found, values, empty_labels=source.empty_labels)
        if sentences:
            damage[case.name] = sentences
    digests = {
        name: {path: digest for path, digest in found.digests.items() if path not in found.empty}
        for name, found in findings.items()
    }
    copies = duplicates(digests, last=damage)
    return damage | {name: damage.get(name, []) + sentences for name, sentences in copies.items()}


def _write(placing: Placing, missing: set[Path]) -> None:
    for making in placing.makings:
        if making.target in missing:
            making.carry_out()


def _describe(folder: Path, source: Source, training: Sequence[Placing], folds: Sequence[Fold]) -> None:
    """Write `splits_final.json`, which nnU-Net takes over when it plans, and at last `dataset.json`."""
    if folds:
        update_json(folder / "splits_final.json", folds)
    else:
        (folder / "splits_final.json").unlink(missing_ok=True)

    def named(path: Path) -> str:
        return str(path.relative_to(folder) if path.is_relative_to(folder) else path)

    paths = {p.name: {"images": [*map(named, p.images)], "label": named(p.label)} for p in training if p.label}
    all_here = all(path.is_relative_to(folder) for p in training for path in (*p.images, p.label) if path)
    write_dataset_json(
        folder,
        channels=source.channels,
        labels=source.regions or source.labels,
        training=len(training),
        **source.extra,
        **({} if all_here else {"dataset": paths}),
    )
