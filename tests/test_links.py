"""Links, anchors and images of the Markdown files that MkDocs does not build; it checks those of the pages itself."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from markdown.extensions.toc import slugify

REPOSITORY = Path(__file__).parents[1]
FILES = [REPOSITORY / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md")]

_BLOCK = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
_CODE = re.compile(r"`[^`\n]*`")
_LINK = re.compile(r"\]\(([^)\s]+)\)")
_HEADING = re.compile(r"^#+ (.*)$", re.MULTILINE)


def broken_links(text: str, folder: Path) -> list[str]:
    """The links in Markdown that lead to no file below `folder`, or to no heading of one."""
    return [
        link
        for link in _LINK.findall(_CODE.sub("", _BLOCK.sub("", text)))
        if "://" not in link and not _leads(link, text, folder)
    ]


def _leads(link: str, text: str, folder: Path) -> bool:
    path, _, anchor = link.partition("#")
    file = folder / path
    if path and not file.exists():
        return False
    return not anchor or anchor in _anchors(file.read_text(encoding="utf-8") if path else text)


def _anchors(text: str) -> set[str]:
    return {slugify(re.sub(r"[`*$]", "", heading), "-") for heading in _HEADING.findall(_BLOCK.sub("", text))}


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_links_lead_somewhere(file):
    assert broken_links(file.read_text(encoding="utf-8"), file.parent) == []


def test_readme_links_to_the_documentation():
    assert len(_LINK.findall(FILES[0].read_text(encoding="utf-8"))) > 10


def test_readme_fits_on_a_screen_or_two():
    assert len(FILES[0].read_text(encoding="utf-8").splitlines()) <= 80


def test_a_missing_file_heading_or_image_is_found(tmp_path):
    (tmp_path / "page.md").write_text("# Page\n\n## One `word` more\n")
    text = "## Here\n[a](page.md#one-word-more) [b](#here) [c](https://example.org) `[d](no)`\n"
    assert broken_links(text, tmp_path) == []
    broken = "[a](page.md#other) [b](#there) ![c](picture.png) [d](gone.md)\n"
    assert broken_links(broken, tmp_path) == ["page.md#other", "#there", "picture.png", "gone.md"]
