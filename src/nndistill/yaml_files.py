"""YAML files that people write by hand: read strictly, and every mistake named with its line."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from .errors import UserError
from .validation import explain

_Model = TypeVar("_Model", bound=BaseModel)


def validated_yaml(text: str, model: type[_Model], *, source: str) -> _Model:
    """Read YAML text as a validated model.

    Args:
        text: The text.
        model: What it has to describe.
        source: What messages call the text, such as its file.

    Raises:
        UserError: It is not YAML, gives a key twice, has a number such as 010, or is no such model; the message names
            the key and its line.

    Example:
        >>> from nndistill.validation import Strict
        >>> class Point(Strict):
        ...     x: int
        >>> validated_yaml("x: 3", Point, source="point.yaml")
        Point(x=3)
        >>> validated_yaml("x: left", Point, source="point.yaml")
        Traceback (most recent call last):
        ...
        nndistill.errors.UserError: point.yaml, line 1: x: Input should be a valid integer, unable to parse string as \
an integer (given: 'left').
    """
    try:
        document = yaml.compose(text, Loader=yaml.SafeLoader)
        values = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise UserError(f"{source} is not valid YAML: {' '.join(str(error).split())}") from error
    _refuse_repeated_keys(document, source)
    _refuse_octal_numbers(document, source)
    try:
        return model.model_validate(values)
    except ValidationError as error:
        keys, sentence = explain(error, model, values)
        raise UserError(f"{source}, line {_line(document, keys)}: {sentence}") from error


def _refuse_repeated_keys(document: yaml.Node | None, source: str) -> None:
    """YAML itself silently takes the last of two equal keys."""
    if not isinstance(document, yaml.MappingNode):
        return
    seen = set()
    for key, value in document.value:
        if key.value in seen:
            raise UserError(f"{source}, line {key.start_mark.line + 1}: the key {key.value} is given twice.")
        seen.add(key.value)
        _refuse_repeated_keys(value, source)


def _refuse_octal_numbers(node: yaml.Node | None, source: str) -> None:
    """In YAML 1.1, 010 is 8, and nobody means that."""
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            _refuse_octal_numbers(key, source)
            _refuse_octal_numbers(value, source)
    elif isinstance(node, yaml.SequenceNode):
        for value in node.value:
            _refuse_octal_numbers(value, source)
    elif isinstance(node, yaml.ScalarNode) and node.tag == "tag:yaml.org,2002:int":
        digits = node.value.lstrip("+-")
        if len(digits) > 1 and digits[0] == "0" and digits.isdecimal():
            raise UserError(
                f"{source}, line {node.start_mark.line + 1}: YAML reads {node.value} as the octal number "
                f"{int(node.value, 8)}; write {int(node.value)}."
            )


def _line(document: yaml.Node | None, keys: Sequence[str]) -> int:
    """Line of the innermost of nested keys that the document has, counted from 1."""
    line = 1
    for wanted in keys:
        if isinstance(document, yaml.MappingNode):
            for key, value in document.value:
                if key.value == wanted:
                    line, document = key.start_mark.line + 1, value
                    break
    return line
