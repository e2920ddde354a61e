"""Turns the pages' LaTeX into MathML while they are built, so that browsers show formulas without any script.

Without `latex2mathml` the LaTeX stays as it is.
"""

from __future__ import annotations

import html
import re
from typing import Any

try:
    from latex2mathml.converter import convert
except ImportError:
    convert = None

_FORMULA = re.compile(r'<(span|div) class="arithmatex">\\([(\[])(.*?)\\[)\]]</\1>', re.DOTALL)
_SIZE = re.compile(r"\\[bB]igg?[lr]?(?![a-zA-Z])")  # sizes of brackets, which MathML chooses itself
_ALPHABET = re.compile(r"\\(mathcal|mathbb)\s*([A-Za-z])")  # the converter wants braces here


def on_page_content(content: str, **_: Any) -> str:
    """Called by MkDocs with the HTML of every page."""
    return content if convert is None else _FORMULA.sub(_mathml, content)


def _mathml(formula: re.Match[str]) -> str:
    latex = _ALPHABET.sub(r"\\\1{\2}", _SIZE.sub("", html.unescape(formula[3]))).strip()
    return str(convert(latex, display="block" if formula[2] == "[" else "inline"))
