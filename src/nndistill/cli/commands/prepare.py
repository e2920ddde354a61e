"""`nndistill prepare`: one command per public data set, derived from what the data set's file declares."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from typer.core import TyperGroup

from ...progress import StepProgress, console
from ..options import AsJson, DatasetId, Workspace
from ..output import print_json, print_next, show, workspace_option

if TYPE_CHECKING:
    from ...datasets.preparation.report import Report
    from ...datasets.registry import Option, PublicDataset
    from ...datasets.source import Source

SHOWN = 20
"""Damaged cases listed on the terminal; all are in the report."""

Split = Annotated[str, typer.Option(help="Folds: patient, nnunet (stock, by case), or a file like splits_final.json.")]
OnError = Annotated[Literal["stop", "skip"], typer.Option(help="Stop if cases are damaged, or skip these cases.")]
Copy = Annotated[bool, typer.Option("--copy", help="Copy all files. By default, files stay where they are.")]
Jobs = Annotated[
    int | None,
    typer.Option(
        min=1, help="Cases to read at a time, each in the memory of its images. Default: one per core, at most 8."
    ),
]


class DatasetCommands(TyperGroup):
    """Looks up the data sets only when one of their commands or their list is asked for."""

    def list_commands(self, ctx: Any) -> list[str]:
        self._add_datasets()
        return super().list_commands(ctx)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        self._add_datasets()
        return super().get_command(ctx, cmd_name)

    def _add_datasets(self) -> None:
        from ...datasets.registry import public_datasets

        for name, dataset in public_datasets().items():
            if name not in self.commands:
                single = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
                single.command(name, help=dataset.summary)(_command(dataset))
                self.add_command(typer.main.get_command(single), name)


prepare = typer.Typer(
    cls=DatasetCommands,
    help="Check a downloaded data set and bring it into nnU-Net's raw format.",
    no_args_is_help=True,
)


def _command(dataset: PublicDataset) -> Callable[..., None]:
    """The function behind a data set's command: its source and own options, then those of all data sets."""

    def command(
        source: Any,
        dataset_id: DatasetId,
        split: Split = "patient",
        on_error: OnError = "stop",
        copy: Copy = False,
        jobs: Jobs = None,
        workspace: Workspace = None,
        as_json: AsJson = False,
        **own: Any,
    ) -> None:
        found = dataset.find(source, **own)
        _prepare(found, dataset_id, workspace, as_json, split=split, on_error=on_error, copy=copy, jobs=jobs)

    source, dataset_id, *common, _ = inspect.signature(command, eval_str=True).parameters.values()
    path_type = list[Path] if dataset.several_sources else Path
    source = source.replace(annotation=Annotated[path_type, typer.Argument(help=dataset.source)])
    own = [_option(keyword, dataset.options[keyword.name]) for keyword in dataset.keywords]
    parameters = [source, dataset_id, *own, *common]
    command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    command.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return command


def _option(keyword: inspect.Parameter, described: Option) -> inspect.Parameter:
    flag = described.flag or f"--{keyword.name.replace('_', '-')}"
    value_type: Any = keyword.annotation
    annotation = Annotated[value_type, typer.Option(flag, help=described.help)]
    return keyword.replace(annotation=annotation, kind=inspect.Parameter.POSITIONAL_OR_KEYWORD)


def _prepare(found: Source, dataset_id: int, workspace: Path | None, as_json: bool, **options: Any) -> None:
    from ...datasets import DamagedData
    from ...datasets import prepare as prepare_source
    from ...nnunet.workspace import raw_folder, use_workspace

    use_workspace(workspace)
    try:
        with StepProgress("checking and writing") as progress:
            report = prepare_source(found, raw_folder(), dataset_id=dataset_id, progress=progress, **options)
    except DamagedData as error:
        _list_damage(error.report)
        raise
    _list_damage(report)
    _list_unused(report)
    if as_json:
        print_json(report.summary())
        return
    _show(report)
    print(f"{report.folder} is ready; {report.path.name} in it has the details.")
    if not report.folds:
        print("There are too few patients, or cases, for five folds: train on all cases.")
    fold = [] if report.folds else ["--fold", "all"]
    print_next("nndistill", "teach", dataset_id, *fold, *workspace_option(workspace))


def _list_damage(report: Report) -> None:
    """List damaged cases on standard error."""
    for case, sentences in list(report.damage.items())[:SHOWN]:
        for sentence in sentences:
            console.print(f"{case}: {sentence}", style="red", highlight=False, markup=False, soft_wrap=True)
    if len(report.damage) > SHOWN:
        console.print(f"… and {len(report.damage) - SHOWN} more, all in {report.path}", highlight=False)


def _list_unused(report: Report) -> None:
    """List images that belong to no case on standard error."""
    for path in report.unused[:SHOWN]:
        console.print(f"not used: {path} belongs to no case.", highlight=False, markup=False, soft_wrap=True)
    if len(report.unused) > SHOWN:
        console.print(f"… and {len(report.unused) - SHOWN} more, all in {report.path}", highlight=False)


def _show(report: Report) -> None:
    import pandas as pd

    rows = {}
    for name, value in report.summary().items():
        if value in ({}, []) or name == "prepared":
            continue
        if name == "folds":
            value = ", ".join(f"{fold['train']}/{fold['val']}" for fold in value)
        elif isinstance(value, dict):
            value = _range(**value) if "to" in value else ", ".join(f"{key} {n}" for key, n in value.items())
        rows[name] = value
    if report.remarks:
        rows["remarks"] = f"{len(report.remarks)} cases: see {report.path.name}"
    show(pd.DataFrame({"": rows}), report.folder.name)


def _range(to: list[float], **limits: list[float]) -> str:
    """`182×218×182`, or `20×20×19 to 60×60×44`."""
    low, high = ("×".join(f"{x:.4g}" for x in axes) for axes in (limits["from"], to))
    return low if low == high else f"{low} to {high}"
