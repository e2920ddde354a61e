"""Fills in the reference of commands while the pages are built: tables of what Typer declares.

`<!-- options of NAME -->` becomes the usage of the command, and a table of its arguments and options. If NAME is a
group, such as `prepare`, the marker becomes a section for each command of the group.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from enum import Enum
from pathlib import Path
from typing import Any

import typer

from nndistill.cli import application
from nndistill.methods.names import method_names

PAGE = Path(__file__).parent / "reference" / "commands.md"

_MARKER = re.compile(r"^<!-- options of ([\w -]+) -->$", re.MULTILINE)
_DEFAULT_IN_HELP = re.compile(r" Default: (.+)\.$")


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Called by MkDocs with the text of every page."""
    return _MARKER.sub(lambda found: _options_of(found[1]), markdown)


def reference() -> str:
    """The page of the commands with its tables filled in."""
    return on_page_markdown(PAGE.read_text(encoding="utf-8"))


def _options_of(name: str) -> str:
    command: Any = typer.main.get_command(application.app)
    for word in name.split():
        command = command.get_command(typer.Context(command), word)
    return "\n\n".join(_sections(command, name) if _children(command) else _usage_and_table(command, name))


def _children(command: Any) -> list[str]:
    return list(command.list_commands(typer.Context(command))) if hasattr(command, "list_commands") else []


def _sections(group: Any, name: str) -> Iterator[str]:
    for child in _children(group):
        command = group.get_command(typer.Context(group), child)
        yield f"## `{name} {child}`"
        yield _text(command.help)
        yield from _usage_and_table(command, f"{name} {child}")


def _usage_and_table(command: Any, name: str) -> Iterator[str]:
    arguments = [parameter for parameter in command.params if parameter.param_type_name == "argument"]
    options = [
        parameter for parameter in command.params if parameter.param_type_name == "option" and not parameter.hidden
    ]
    usage = ["nndistill", name, *map(_placeholder, arguments), *(["[OPTIONS]"] if options else [])]
    yield f"```text\n{' '.join(usage)}\n```"
    rows = [
        *(_row(f"`{_placeholder(argument)}`", argument) for argument in arguments),
        *(_row(", ".join(f"`{flag}`" for flag in [*each.opts, *each.secondary_opts]), each) for each in options),
    ]
    if rows:
        yield "\n".join(["| argument or option | default | meaning |", "|---|---|---|", *rows])


def _row(names: str, parameter: Any) -> str:
    """A row of the table; the end of a help text may name a default that Typer does not know."""
    meaning = _text(parameter.help)
    stated = _DEFAULT_IN_HELP.search(meaning)
    if stated is None:
        return f"| {names} | {_default(parameter)} | {meaning} |"
    return f"| {names} | {stated[1]} | {meaning[: stated.start()]} |"


def _placeholder(argument: Any) -> str:
    return (argument.metavar or argument.name.upper()) + ("…" if argument.nargs == -1 else "")


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
