"""Replaces the line `<!-- methods -->` in the pages by a table of all methods, made of what each method declares."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args, get_origin, get_type_hints

from nndistill.methods import METHODS, build_method, option_names
from nndistill.methods.registry import find_method

MARKER = "<!-- methods -->"
PAGES = Path(__file__).parent / "reference" / "methods"

_TAPPED = {"encoder": "encoder stages", "decoder": "decoder", "logits": "logits"}


class _Compared(NamedTuple):
    """What may differ between a method's options."""

    of: str
    phi: str
    weight: str


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Called by MkDocs with the text of every page."""
    return markdown.replace(MARKER, table()) if MARKER in markdown else markdown


def table() -> str:
    """All methods that can be built here; options that change what is compared have rows of their own."""
    rows = [["name", "method", "matches", "of", "φ", "weight in its source"], ["---"] * 6]
    for name in METHODS:
        method = find_method(name)
        if method is None:
            continue
        linked = f"[`{name}`](methods/{name}.md)" if (PAGES / f"{name}.md").is_file() else f"`{name}`"
        usual = _compared(name)
        rows.append([linked, method.title, method.matches, *usual])
        for option, value in _choices(name):
            if (changed := _compared(name, **{option: value})) != usual:
                rows.append([f"`{name}`, `{option}={value}`", method.title, method.matches, *changed])
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _compared(name: str, **options: Any) -> _Compared:
    method = build_method(name, student_channels=[2, 2], teacher_channels=[4, 4], **options)
    trained = [parameter.requires_grad for parameter in method.parameters()]
    return _Compared(
        of=", ".join(_TAPPED[kind] for kind in sorted(method.needs)) or "–",
        phi="no" if not trained else "yes" if any(trained) else "not trained",
        weight="–" if method.source_weight is None else f"{method.source_weight:g}",
    )


def _choices(name: str) -> Iterator[tuple[str, str]]:
    """Every value of every option that has only a few."""
    hints = get_type_hints(METHODS[name].__init__)
    for option in sorted(option_names(name)):
        if get_origin(hints.get(option)) is Literal:
            yield from ((option, value) for value in get_args(hints[option]))
