"""Validation errors as sentences: which key, what is wrong, what is allowed."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import pytest
from pydantic import Field, TypeAdapter, ValidationError

from nndistill.validation import Explanation, Strict, explain


class Point(Strict):
    name: str = ""
    x: int


class Circle(Strict):
    name: Literal["circle"]
    radius: float


class Square(Strict):
    name: Literal["square"]
    side: float


class Drawing(Strict):
    points: tuple[Point, ...] = ()
    shape: Annotated[Circle | Square, Field(discriminator="name")] | None = None
    colours: dict[str, int | list[int]] = Field(default_factory=dict)


def explanation_of(expected: Any, values: Any) -> Explanation:
    with pytest.raises(ValidationError) as raised:
        TypeAdapter(expected).validate_python(values)
    return explain(raised.value, expected, values)


@pytest.mark.parametrize(
    ("values", "keys", "sentence"),
    [
        ({"point": []}, "point", "there is no key 'point'. Did you mean 'points'? Known: colours, points, shape."),
        ({"points": [{"x": 1}, {}]}, "points.1.x", "the key points.1.x is missing."),
        ({"points": [{"y": 1}]}, "points.0.y", "there is no key 'points.0.y'. Known: name, x."),
        ({"points": [3]}, "points.0", "points.0 has to be a list of keys and values (given: 3)."),
        ({"shape": {"name": "circle"}}, "shape.radius", "the key shape.radius is missing."),
        ({"shape": {"name": "square", "sid": 1}}, "shape.sid", "there is no key 'shape.sid'. Did you mean 'side'?"),
        ({"shape": {"name": "line"}}, "shape", "shape.name has to be one of 'circle', 'square'."),
        ({"shape": {"side": 1}}, "shape", "shape.name has to be one of 'circle', 'square'."),
        ({"colours": {"red": "dark"}}, "colours.red", "colours.red: Input should be a valid integer"),
        (3, "", "the content has to be a list of keys and values (given: 3)."),
    ],
)
def test_explanation_names_the_key_as_it_was_written(values, keys, sentence):
    explanation = explanation_of(Drawing, values)
    assert ".".join(explanation.keys) == keys
    assert explanation.sentence.startswith(sentence)
    assert explanation.sentence.endswith(".")


def test_value_of_a_plain_type_needs_no_key():
    assert explanation_of(int, "ten") == (
        (),
        "Input should be a valid integer, unable to parse string as an integer (given: 'ten').",
    )


def test_misspelt_key_comes_before_the_one_that_is_then_missing():
    assert "Did you mean 'radius'" in explanation_of(Drawing, {"shape": {"name": "circle", "radios": 1}}).sentence


def test_values_cannot_be_changed():
    with pytest.raises(ValidationError, match="frozen"):
        Point(x=1).x = 2
