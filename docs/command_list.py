"""Fills in the reference of commands while the pages are built, from what Typer declares."""

from __future__ import annotations

from collections.abc import Iterator
from enum import Enum
from typing import Any

import typer

from nndistill.cli import application
from nndistill.methods.names import method_names

MARKER = "<!-- commands -->"


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Called by MkDocs with the text of every page."""
    return markdown.replace(MARKER, reference()) if MARKER in markdown else markdown


def reference() -> str:
    """Every command with its help, arguments and options, as Markdown."""
    return "\n\n".join(_sections(typer.main.get_command(application.app), "nndistill"))


def _sections(command: Any, name: str) -> Iterator[str]:
    context = typer.Context(command)
    children = command.list_commands(context) if hasattr(command, "list_commands") else []
    if name != "nndistill":
        yield f"## `{name.removeprefix('nndistill ')}`\n\n{_text(command.help)}"
        if not children:
            yield _usage(command, name)
            yield _table(command)
    for child in children:
        yield from _sections(command.get_command(context, child), f"{name} {child}")


def _usage(command: Any, name: str) -> str:
    return f"```text\n{' '.join([name, *map(_placeholder, _arguments(command))])} [OPTIONS]\n```"


def _table(command: Any) -> str:
    rows = ["| argument or option | default | meaning |", "|---|---|---|"]
    for parameter in [*_arguments(command), *_options(command)]:
        names = (
            [*parameter.opts, *parameter.secondary_opts]
            if parameter in _options(command)
            else [_placeholder(parameter)]
        )
        rows.append(f"| {', '.join(f'`{name}`' for name in names)} | {_default(parameter)} | {_text(parameter.help)} |")
    return "\n".join(rows)


def _arguments(command: Any) -> list[Any]:
    return [parameter for parameter in command.params if parameter.param_type_name == "argument"]


def _options(command: Any) -> list[Any]:
    return [option for option in command.params if option.param_type_name == "option" and not option.hidden]


def _placeholder(argument: Any) -> str:
    return argument.name.upper() + ("…" if argument.nargs == -1 else "")


def _default(option: Any) -> str:
    value = option.default
    if option.required:
        return "required"
    if value is None or value is False or callable(value) or value in ((), []) or "Sentinel" in type(value).__name__:
        return ""
    if value is True:
        return f"`{option.opts[-1]}`" if option.secondary_opts else "yes"
    return f"`{value.value if isinstance(value, Enum) else value}`"


def _text(text: str | None) -> str:
    """One line; the names of the methods are filled in, as `--help` does."""
    return " ".join((text or "").split()).replace("|", "\\|").replace("{methods}", ", ".join(method_names()))
