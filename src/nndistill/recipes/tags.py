"""Short words for what is special about a recipe, for the names of runs."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from ..methods.registry import default_options
from .loading import load_recipe, recipe_names
from .recipe import Balance, Recipe

_USUAL = "paper"
"""The recipe whose name goes without saying: the default of the command line."""

_OF_METHOD = {"method", "method_options", "distillation_weight", "balance"}
_NAMED_ELSEWHERE = {"init"}
"""What the name of a run has without a tag."""

_SHORT = {"learning_rate": "lr", "distillation_weight": "weight", "share": "balance"}


def tags_of(recipe: Recipe) -> list[str]:
    """Say in short words what is special about a recipe, apart from its method and what a student starts from.

    First the method's options and weight that are not its defaults; then the most similar of nnDistill's recipes,
    unless that is `paper`, and each value that differs from it. A recipe with a random start is not compared with one
    that starts from the teacher. Recipes of one method that train differently have different tags.

    Example:
        >>> from nndistill import load_recipe
        >>> tags_of(load_recipe("paper"))
        []
        >>> tags_of(load_recipe("quick").adjusted(epochs=60, learning_rate=4e-3, method_options={"bands": "S"}))
        ['bands-S', 'quick', 'lr0.004', 'epochs60']
        >>> tags_of(load_recipe("paper").adjusted(method="logits", distillation_weight=0.1, seed=7))
        ['weight0.1', 'seed7']
    """
    values = _training(recipe)
    shipped = {name: load_recipe(name) for name in sorted(recipe_names(), key=lambda name: name != _USUAL)}
    compared = {name: other for name, other in shipped.items() if other.init in ("random", recipe.init)}
    differences = {name: _differences(values, _training(other)) for name, other in compared.items()}
    nearest = min(compared, key=lambda name: len(differences[name]))
    return [
        *(_tag(option.replace(".", "-"), value) for option, value in _special_options(recipe)),
        *_weight_tags(recipe, compared[nearest]),
        *([] if nearest == _USUAL else [nearest]),
        *(_tag(key, value) for key, value in differences[nearest].items()),
    ]


def flattened(values: Mapping[str, Any], before: str = "") -> dict[str, Any]:
    """Return nested values by their keys joined with dots.

    Example:
        >>> flattened({"optimizer": {"name": "sgd"}, "seed": 1})
        {'optimizer.name': 'sgd', 'seed': 1}
    """
    flat: dict[str, Any] = {}
    for key, value in values.items():
        flat |= flattened(value, f"{before}{key}.") if isinstance(value, Mapping) else {f"{before}{key}": value}
    return flat


def _training(recipe: Recipe) -> dict[str, Any]:
    return flattened(recipe.model_dump(mode="json", exclude={"description", *_OF_METHOD, *_NAMED_ELSEWHERE}))


def _differences(values: Mapping[str, Any], others: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in values.items() if key not in others or others[key] != value}


def _special_options(recipe: Recipe) -> Iterator[tuple[str, Any]]:
    for name, value in recipe.method_options.items():
        part, _, option = name.rpartition(".")
        defaults = default_options(part or recipe.method)
        if option not in defaults or defaults[option] != value:
            yield name, value


def _weight_tags(recipe: Recipe, nearest: Recipe) -> list[str]:
    if recipe.balance is not None:
        usual = Balance(share=recipe.balance.share).model_dump(exclude={"share"})
        return [_tag(key, value) for key, value in _differences(recipe.balance.model_dump(), usual).items()]
    weight = nearest.distillation_weight if recipe.method == nearest.method else None
    given = recipe.distillation_weight
    return [] if given == weight else [_tag("distillation_weight", given)]


def _tag(key: str, value: Any) -> str:
    """`optimizer.learning_rate`, 0.004 as `lr0.004`; `bands`, `S` as `bands-S`; a name as itself."""
    last = key.rpartition(".")[2]
    word = _SHORT.get(last, last)
    if value is None or value is False:
        return _plain(f"no-{word}")
    if value is True:
        return _plain(word)
    if last == "name":
        return _plain(str(value))
    if isinstance(value, (int, float)):
        return _plain(f"{word}{value}".removesuffix(".0"))
    values = "-".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)
    return _plain(f"{word}-{values}")


def _plain(text: str) -> str:
    """Only what needs no quotes in a shell, and no underscores, which part the tags."""
    return re.sub(r"[^A-Za-z0-9.+]+", "-", text).strip("-")
