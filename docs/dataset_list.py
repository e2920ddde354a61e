"""Fills in the list of data sets while the pages are built, from what each data set's file declares."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from nndistill.datasets.registry import PublicDataset, public_datasets

MARKER = "<!-- table of the data sets -->"


def on_config(config: Any, **_: Any) -> Any:
    """Called by MkDocs with its settings: adds the page of each data set to the navigation."""
    (section,) = _sections(config["nav"], "Data sets")
    section += [{dataset.title: f"how-to/{_page(dataset)}"} for dataset in public_datasets().values()]
    return config


def _sections(nav: list[Any], title: str) -> Iterator[list[Any]]:
    for item in nav:
        for name, content in item.items() if isinstance(item, dict) else ():
            if name == title:
                yield content
            elif isinstance(content, list):
                yield from _sections(content, title)


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Called by MkDocs with the text of every page: puts the table in the place of its marker."""
    return markdown.replace(
        MARKER, "\n".join(["| data | command |", "|---|---|", *map(_row, public_datasets().values())])
    )


def _row(dataset: PublicDataset) -> str:
    sources = "SOURCE…" if dataset.several_sources else "SOURCE"
    command = f"nndistill prepare {dataset.name} {sources} --dataset-id {dataset.usual_id or 'N'}"
    return f"| [{dataset.summary.rstrip('.')}]({_page(dataset)}) | `{command}` |"


def _page(dataset: PublicDataset) -> str:
    """The page as seen from `how-to/datasets.md`."""
    return f"datasets/{dataset.name}.md"
