"""README, documentation, help texts and messages follow the style rules in `styles/nnDistill`."""

from __future__ import annotations

import re
from collections.abc import Iterator
from fnmatch import fnmatch
from typing import Any

import pytest
import typer

from documented import PAGES, REPOSITORY
from nndistill.cli import application
from prose_rules import findings, left_out, messages


def test_every_page_follows_the_style():
    pages = {str(page.relative_to(REPOSITORY)): page for page in PAGES}
    checked = {name: page for name, page in pages.items() if not any(fnmatch(name, each) for each in left_out())}
    assert len(checked) > 30
    found = []
    for name, page in checked.items():
        found += findings(name, page.read_text(encoding="utf-8"))
    assert not found, "\n" + "\n".join(found)


def test_every_help_text_follows_the_style():
    texts = list(_help_texts(typer.main.get_command(application.app), "nndistill"))
    assert len(texts) > 150
    found = [line for name, text in texts for line in findings(name, text)]
    assert not found, "\n" + "\n".join(found)


def _help_texts(command: Any, name: str) -> Iterator[tuple[str, str]]:
    yield name, command.help or ""
    for parameter in command.params:
        yield f"{name} {parameter.opts[-1]}", getattr(parameter, "help", None) or ""
    context = typer.Context(command)
    for child in command.list_commands(context) if hasattr(command, "list_commands") else ():
        yield from _help_texts(command.get_command(context, child), f"{name} {child}")


def test_every_message_follows_the_style():
    said = [message for file in sorted((REPOSITORY / "src").rglob("*.py")) for message in messages(file)]
    assert len(said) > 300
    found = [line for file, number, text in said for line in findings(file, text, number)]
    assert not found, "\n" + "\n".join(found)


def test_troubleshooting_quotes_messages_that_exist():
    page = (REPOSITORY / "docs" / "how-to" / "troubleshooting.md").read_text(encoding="utf-8")
    quoted = re.findall(r"^\| `([^`]*)` \|", page.partition("## nnU-Net and PyTorch")[0], re.MULTILINE)
    assert len(quoted) > 15
    said = {text for file in (REPOSITORY / "src").rglob("*.py") for _, _, text in messages(file)}
    for message in quoted:
        pattern = re.compile(".*".join(re.escape(part) for part in message.split("…")), re.DOTALL)
        assert any(pattern.search(text) for text in said), message


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("The file lies beside it.", "page:1: Use 'is' instead of 'lies'."),
        ("The file lies beside it.", "page:1: Use 'next to, compared with, in addition to' instead of 'beside'."),
        (
            "One.\n\nA loss a stage is one function.",
            "page:3: Write a rate with 'per': '… per case', not 'A loss a stage'.",
        ),
        ("So are told a missing channel.", "page:1: Name the subject first, then the verb ('So are')."),
        ("These are plans of nnU-Net's.", "page:1: Use 'of …, without 's' instead of 'of nnU-Net's'."),
        ("A plans file will do.", "page:1: Use 'is enough, works' instead of 'will do'."),
        (
            "If so, a message says it.",
            "page:1: Only people tell: software reports, lists, warns, prints ('message says').",
        ),
        ("The value is 3. This is a mean.", "page:1: Name the subject: 'This value is', not 'This is'."),
        ("It runs just as well.", "page:1: Not shown: say what was measured, or that it is expected ('just as well')."),
    ],
)
def test_a_sentence_against_a_rule_is_found_with_its_line(text, message):
    assert message in findings("page", text)


@pytest.mark.parametrize(
    "text",
    [
        "null stands for both.",
        "```\nlies beside\n```\n",
        "The option `lies beside` and the formula $lies$.",
        "A line of\n```console\n$ lies\n```\nmore.",
        "It is made up of two parts.",
        "The noise of a channel in a stage.",
        "This value is the mean of nnU-Net's plans.",
    ],
)
def test_code_formulas_and_harmless_words_are_not_found(text):
    assert findings("page", text) == []
