"""From a download to nnU-Net's raw format: check, plan, write, split, report; what is done is not done again."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Literal

from ...errors import UserError
from ...files import update_json
from ...nnunet.data.raw_format import new_dataset_folder, write_dataset_json
from ..source import Source
from .case_check import Finding, Rules, check_label_values, names_by_value, unfit_content
from .case_plan import CasePlan, plan_case
from .dataset_check import check_cases, duplicates, processors
from .provenance import RECORD, check_made_here, update_provenance
from .report import REPORT, Report, known_findings
from .splits import Fold, check_split, make_split

WRITTEN_BY = 2
"""Increase it whenever a rewritten file gets other content: version 0.1 cut labels to 8 bits, without this number."""


class DamagedData(UserError):
    """Some cases cannot be used.

    Args:
        report: Lists them all.
    """

    def __init__(self, report: Report) -> None:
        total = len({*report.damage, *(case.name for case in report.source.cases)})
        first = next(iter(report.damage.values()))[0]
        super().__init__(
            f"{len(report.damage)} of {total} cases cannot be used. The first: {first} Fix them, or leave them out "
            f'with on_error "skip"; all are listed in {report.path}.',
            option="on_error",
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
    """Make a data set in nnU-Net's raw format; no case is written before all are checked.

    Usable files stay where they are, and `dataset.json` names their paths. A repeated call only does what is missing
    or depends on files that have changed since.

    Args:
        source: What `find_brats2024`, `find_isles2022` or `find_decathlon` found.
        raw: nnU-Net's raw folder, `nnUNet_raw`.
        dataset_id: Number of the new data set, from 1 to 999.
        split: `patient` keeps all cases of a patient in one fold; `nnunet` is stock nnU-Net's split, by case; or a file
            in the form of nnU-Net's `splits_final.json`.
        on_error: Whether damaged cases raise `DamagedData` or are left out.
        copy: Copy all files, so that the download can be moved or deleted afterwards.
        jobs: Cases to work on at a time; default: one per processor core, at most 8.
        progress: Called with the number of finished steps and of all; each case is checked, then written.

    Returns:
        The report, which is also in the data set's folder.

    Raises:
        DamagedData: Cases are damaged and `on_error` is `stop`, or no training case is left.
        UserError: The folder or the number is taken, the split does not fit, or the disk is full.

    Example:
        >>> from pathlib import Path
        >>> from tempfile import mkdtemp
        >>> from nndistill.datasets import find_brats2024, generate_phantom, prepare
        >>> folder, small = Path(mkdtemp()), {"shape": (32, 32, 32), "spacing": (5, 5, 5), "jobs": 1}
        >>> download = generate_phantom(folder, layout="brats2024", cases=2, **small)
        >>> report = prepare(find_brats2024([download]), folder / "nnUNet_raw", dataset_id=226)
        >>> report.folder.name, report.summary()["training cases"], report.summary()["patients"]
        ('Dataset226_BraTS2024', 2, 1)
    """
    folder = _free_folder(Path(raw), dataset_id, source.name)
    check_split(split)
    check_label_values(names_by_value(source.labels))
    made_from = {"maker": source.found_by}
    steps = 2 * len(source.cases)
    tell = progress or (lambda done, total: None)
    rules = Rules.of(source)
    known = known_findings(folder / REPORT, rules)
    findings = check_cases(source.cases, rules, known=known, jobs=jobs, progress=lambda done, total: tell(done, steps))
    report = Report(folder, source, findings, _damage(source, findings), split)
    sound = [case for case in source.cases if case.name not in report.damage]
    patients = {case.name: case.patient for case in sound if case.label}
    stop = bool(report.damage) and (on_error == "stop" or not patients)
    if stop or findings != known:  # whatever comes next, no file has to be read again
        if not (folder / RECORD).exists():
            update_provenance(folder, made_from, {})
        report.save()
    if stop:
        raise DamagedData(report)

    folds = make_split(split, patients, left_out=list(report.damage))
    case_plans = [plan_case(case, findings[case.name], folder, source, copy=copy) for case in sound]
    files = {
        action.target: [
            action.kind,
            source.onto,
            findings[plan.name].files,
            *([WRITTEN_BY] if action.kind == "rewrite" else []),
        ]
        for plan in case_plans
        for action in plan.actions
    }
    missing = set(update_provenance(folder, made_from, files))
    with ThreadPoolExecutor(jobs or processors()) as pool:
        try:
            written = pool.map(lambda plan: _write(plan, missing), case_plans)
            for done, _ in enumerate(written, start=steps - len(case_plans) + 1):
                tell(done, steps)
        finally:
            pool.shutdown(cancel_futures=True)
    _describe(folder, source, [plan for plan in case_plans if plan.label], folds)
    report = replace(report, folds=folds, made=len(files), prepared=True)
    report.save()
    return report


def _free_folder(raw: Path, dataset_id: int, name: str) -> Path:
    folder = new_dataset_folder(raw, dataset_id, name)
    others = sorted(path.name for path in raw.glob(f"Dataset{dataset_id:03d}_*") if path != folder)
    if others:
        raise UserError(
            f"the number {dataset_id} is taken by {raw / others[0]}: choose another number.", option="dataset_id"
        )
    check_made_here(folder)
    return folder


def _damage(source: Source, findings: Mapping[str, Finding]) -> dict[str, list[str]]:
    """What is wrong with each case: what its check found, what it holds, and images that occur elsewhere too."""
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


def _write(plan: CasePlan, missing: set[Path]) -> None:
    for action in plan.actions:
        if action.target in missing:
            action.carry_out()


def _describe(folder: Path, source: Source, training: Sequence[CasePlan], folds: Sequence[Fold]) -> None:
    """Write `splits_final.json`, which nnU-Net adopts when it plans, and finally `dataset.json`."""
    if folds:
        update_json(folder / "splits_final.json", folds)
    else:
        (folder / "splits_final.json").unlink(missing_ok=True)

    def named(path: Path) -> str:
        return str(path.relative_to(folder) if path.is_relative_to(folder) else path)

    paths = {p.name: {"images": [*map(named, p.images)], "label": named(p.label)} for p in training if p.label}
    all_inside = all(path.is_relative_to(folder) for p in training for path in (*p.images, p.label) if path)
    write_dataset_json(
        folder,
        channels=source.channels,
        labels=source.regions or source.labels,
        training=len(training),
        **source.extra,
        **({} if all_inside else {"dataset": paths}),
    )
