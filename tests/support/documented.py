"""Command lines as the documentation prints them, and the parsers that they have to pass."""

from __future__ import annotations

import argparse
import re
import runpy
import shlex
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import pytest
import typer

from nndistill.cli import application

REPOSITORY = Path(__file__).parents[2]
PAGES = [REPOSITORY / "README.md", REPOSITORY / "CONTRIBUTING.md", *sorted((REPOSITORY / "docs").rglob("*.md"))]

_SHELLS = {"console", "bash", "sh"}
_FENCE = re.compile(r"^ *```(\w*)")
_OPTIONAL = re.compile(r"(?<= )\[([^\]']*)\]")


@dataclass(frozen=True)
class Line:
    """One line of a shell block, without its prompt; continued lines are joined."""

    page: Path
    number: int
    text: str

    def __str__(self) -> str:
        return f"{self.page.relative_to(REPOSITORY)}:{self.number}: {self.text}"


def blocks(page: Path) -> list[list[Line]]:
    """The shell blocks of a page, each as its lines; of a block with prompts only the lines after one."""
    found: list[list[Line]] = []
    language, block = None, []
    for number, text in enumerate(page.read_text(encoding="utf-8").splitlines(), start=1):
        fence = _FENCE.match(text)
        if fence is None:
            block.append(Line(page, number, text))
        elif language is None:
            language, block = fence[1], []
        else:
            if language in _SHELLS:
                found.append(_commands(block))
            language = None
    return found


def _commands(block: list[Line]) -> list[Line]:
    joined: list[Line] = []
    for line in block:
        if joined and joined[-1].text.endswith("\\"):
            before = joined.pop()
            line = Line(before.page, before.number, before.text[:-1] + line.text.strip())
        joined.append(line)
    if any(line.text.startswith("$ ") for line in joined):
        joined = [Line(line.page, line.number, line.text[2:]) for line in joined if line.text.startswith("$ ")]
    return [line for line in joined if line.text.strip() and not line.text.lstrip().startswith("#")]


def commands(line: Line) -> Iterator[list[str]]:
    """The commands of a line as words, one for each way to read `[--option]` and `this|that` in it."""
    text = line.text
    for name, value in _variables(line.page).items():
        text = re.sub(rf"\$(?:{name}\b|{{{name}}})", value, text)
    inside = re.findall(r"\$\(([^)]*)\)", text)
    text = re.sub(r"\$\([^)]*\)", "INSIDE", text)
    parts = re.split(r";\s*(?:do\b|done\b)?\s*", text)  # of a loop
    for whole in [*parts, *inside]:
        for reading in {_OPTIONAL.sub("", whole), *_all_options(whole)}:
            words = shlex.split(reading, comments=True)
            if ">" in words:
                words = words[: words.index(">")]
            while words and re.fullmatch(r"\w+=.*", words[0]):
                words = words[1:]
            yield from _alternatives(words)


@cache
def _variables(page: Path) -> dict[str, str]:
    """The plain values that a page gives to shell variables, by assignment or as the first of a loop."""
    text = "\n".join(line.text for block in blocks(page) for line in block)
    found = re.findall(r'(?:^|\s)(\w+)=(?:"([^"$]*)"|([^\s"$]+)(?=\s|$))', text) + [
        (name, "", value) for name, value in re.findall(r"\bfor (\w+) in ([^\s$;]+)", text)
    ]
    return {name: quoted or plain for name, quoted, plain in found}


def _all_options(text: str) -> Iterator[str]:
    alternatives = max((len(part.split(" | ")) for part in _OPTIONAL.findall(text)), default=1)
    for choice in range(alternatives):
        yield _OPTIONAL.sub(lambda found, choice=choice: (found[1].split(" | ") * alternatives)[choice], text)


def _alternatives(words: list[str]) -> Iterator[list[str]]:
    several = next((i for i, word in enumerate(words) if re.fullmatch(r"[\w-]+(\|[\w-]+)+", word)), None)
    if several is None:
        yield words
        return
    for one in words[several].split("|"):
        yield from _alternatives([*words[:several], one, *words[several + 1 :]])


def parse_nndistill(words: list[str]) -> dict[str, Any]:
    """Parse the words after `nndistill` with Click, which raises if one is unknown or a required one is missing."""
    command: Any = typer.main.get_command(application.app)
    arguments = application._one_value_per_option(words)
    name = "nndistill"
    while hasattr(command, "commands"):
        name = arguments.pop(0)
        group, command = command, command.get_command(typer.Context(command), name)
        assert command is not None, f"{group.name} has no command {name}"
    return dict(command.make_context(name, arguments).params)


class _Parsed(Exception):
    """Raised instead of running the command."""


def parse_nnunet(words: list[str], monkeypatch: pytest.MonkeyPatch) -> argparse.Namespace:
    """Parse a command of nnU-Net with its own parser, without running it."""
    (entry,) = (each for each in entry_points(group="console_scripts") if each.name == words[0])
    return _stopped_after_parsing(entry.load(), words, monkeypatch)


def parse_script(words: list[str], monkeypatch: pytest.MonkeyPatch) -> argparse.Namespace:
    """Parse `SCRIPT OPTIONS` with the script's own parser, without running it."""
    return _stopped_after_parsing(
        lambda: runpy.run_path(str(REPOSITORY / words[0]), run_name="__main__"), words, monkeypatch
    )


def _stopped_after_parsing(
    run: Callable[[], object], words: list[str], monkeypatch: pytest.MonkeyPatch
) -> argparse.Namespace:
    parse = argparse.ArgumentParser.parse_args

    def parse_and_stop(parser: argparse.ArgumentParser, *_: object) -> None:
        raise _Parsed(parse(parser))

    with monkeypatch.context() as patch:
        patch.setattr(sys, "argv", words)
        patch.syspath_prepend(str(REPOSITORY / "benchmarks"))  # whose scripts import each other
        patch.setattr(argparse.ArgumentParser, "parse_args", parse_and_stop)
        with pytest.raises(_Parsed) as parsed:
            run()
    return parsed.value.args[0]
