"""Fills in the list of data sets while the pages are built, from what each data set's file declares."""

from __future__ import annotations

from typing import Any

from nndistill.datasets.registry import PublicDataset, public_datasets

MARKER = "<!-- table of the data sets -->"


def on_config(config: Any, **_: Any) -> Any:
    """Called by MkDocs with its settings: adds the page of each data set to the navigation."""
    (section,) = (item["Data sets"] for item in config["nav"] if isinstance(item, dict) and "Data sets" in item)
    section += [{dataset.title: _page(dataset)} for dataset in public_datasets().values()]
    return config


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
    return f"datasets/{dataset.name}.md"
