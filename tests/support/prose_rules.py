"""Style rules in Vale's files, applied without Vale, a program that checks prose.

Two of its kinds of rule are enough here: `existence` (words that must not occur) and `substitution` (words to write
differently).
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from configparser import ConfigParser
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import yaml

REPOSITORY = Path(__file__).parents[2]

_CODE_BLOCK = re.compile(r"^( *)```.*?^\1``` *$", re.MULTILINE | re.DOTALL)
_NOT_PROSE = re.compile(
    r"<!--.*?-->|\$\$.*?\$\$|`[^`\n]*(?:\n[^`\n]+)?`|\$[^$\n]+\$|\]\([^)]*\)|https?://\S+", re.DOTALL
)
_LINE_IN_PARAGRAPH = re.compile(r"(?<!\n)\n(?!\n)")


@dataclass(frozen=True)
class Rule:
    """What one file of the style finds."""

    message: str
    found: re.Pattern[str]
    replacements: dict[str, str]

    def findings(self, text: str) -> Iterator[tuple[int, str]]:
        """Where each finding begins, and what is to be done about it."""
        for match in self.found.finditer(text):
            instead = next((new for old, new in self.replacements.items() if re.fullmatch(old, match[0], re.I)), None)
            yield match.start(), self.message % ((match[0],) if instead is None else (instead, match[0]))


def rule(file: Path) -> Rule:
    """Read a rule; what only Vale understands is a mistake."""
    content: dict[str, Any] = yaml.safe_load(file.read_text(encoding="utf-8"))
    kind = content.pop("extends")
    words = {"existence": "tokens", "substitution": "swap"}[kind]
    patterns = content.pop(words)
    message, ignore = content.pop("message"), content.pop("ignorecase")
    assert content == {"level": "error"}, f"{file.name}: {content}"
    whole = "|".join(f"(?:{pattern})" for pattern in patterns)
    found = re.compile(rf"(?<!\w)(?:{whole})(?!\w)", re.IGNORECASE if ignore else 0)
    return Rule(message, found, patterns if words == "swap" else {})


RULES = {file.stem: rule(file) for file in sorted((REPOSITORY / "styles" / "nnDistill").glob("*.yml"))}


def prose(text: str) -> str:
    """A page without code, formulas and addresses: every character is in its place, and a paragraph is one line."""
    text = _CODE_BLOCK.sub(_blank, text)
    text = _NOT_PROSE.sub(lambda found: re.sub(r"\S", "X", found[0]), text)
    return _LINE_IN_PARAGRAPH.sub(" ", text)


def _blank(found: re.Match[str]) -> str:
    return re.sub(r"\S", " ", found[0])


def findings(name: str, text: str, first_line: int = 1) -> list[str]:
    """Every finding in a page, a help text or a message as `FILE:LINE: message`."""
    plain = prose(text)
    return [
        f"{name}:{first_line + text.count(chr(10), 0, start)}: {message}"
        for each in RULES.values()
        for start, message in each.findings(plain)
    ]


def left_out() -> list[str]:
    """Patterns of the pages to which `.vale.ini` applies no rule."""
    settings = ConfigParser(interpolation=None, strict=False)
    settings.read_string("[vale]\n" + (REPOSITORY / ".vale.ini").read_text(encoding="utf-8"))
    sections = [name for name in settings.sections() if settings[name].get("BasedOnStyles") == ""]
    return [each for section in sections for each in _alternatives(section)]


def _alternatives(pattern: str) -> list[str]:
    parts = [part.split(",") for part in re.split(r"[{}]", pattern)]
    return ["".join(choice) for choice in product(*parts)]


def messages(file: Path) -> Iterator[tuple[str, int, str]]:
    """What the file's `raise` statements say; a value that is filled in is an X."""
    name = str(file.relative_to(REPOSITORY))
    for raised in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(raised, ast.Raise) and isinstance(raised.exc, ast.Call):
            for argument in raised.exc.args:
                if text := _text(argument):
                    yield name, argument.lineno, text


def _text(node: ast.expr) -> str:
    if isinstance(node, ast.Constant):
        return node.value if isinstance(node.value, str) else ""
    if isinstance(node, ast.JoinedStr):
        return "".join(part.value if isinstance(part, ast.Constant) else "X" for part in node.values)
    if isinstance(node, ast.BinOp):
        return _text(node.left) + _text(node.right)
    if isinstance(node, ast.IfExp):
        return f"{_text(node.body)}\n\n{_text(node.orelse)}"
    return ""
