"""nnU-Net's `dataset.json`: the channels and labels that it names, and what is wrong with them in one sentence.

nnU-Net itself finds such mistakes late, or not at all. Here they are found before anything is computed, and the
sentence shows the form that is right.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from .errors import UserError

_BACKGROUND, _IGNORE = "background", "ignore"
_SHOWN = 4
"""Entries of a list that a sentence shows."""


def check_dataset_json(description: Mapping[str, Any], *, source: str = "dataset.json") -> None:
    """Check what a network of a data set is built and described with: channels, labels, regions and file ending.

    Args:
        description: Content of `dataset.json`.
        source: What messages call the file.

    Raises:
        UserError: nnU-Net could not use it; the message names the entry and shows the right form.

    Example:
        >>> try:
        ...     check_dataset_json({"channel_names": {"0": "CT"}, "labels": {"Background": 0, "tumour": 1}})
        ... except UserError as error:
        ...     print(error)
        dataset.json: the label 'Background' has to be written "background": 0.
    """
    channel_names(description, source=source)
    _refuse_channel_numbers(description, source)
    labels = named_labels(description, source=source)
    _refuse_background(labels, source)
    _refuse_ignore_label(labels, source)
    if _defines_regions(labels):
        _refuse_order_of_regions(labels, description.get("regions_class_order"), source)
    else:
        _refuse_gaps(labels, source)  # a network has one output per label, so their values count its outputs
    ending = description.get("file_ending")
    if not isinstance(ending, str) or not re.fullmatch(r"\.[^/\\]+", ending):
        given = f"is {_json(ending)}" if "file_ending" in description else "is missing"
        raise UserError(
            f'{source}: the entry file_ending {given}; write the ending of the images with its dot, ".nii.gz".'
        )


def check_raw_dataset_json(description: Mapping[str, Any], *, source: str = "dataset.json") -> None:
    """Check what nnU-Net needs to train on a data set, beyond what `check_dataset_json` checks.

    Args:
        description: Content of `dataset.json` in the data set's raw folder.
        source: What messages call the file.

    Raises:
        UserError: nnU-Net could not train on it, or would train on channels in another order than their numbers'.

    Example:
        >>> labels = {"background": 0, "tumour": 1}
        >>> description = {"channel_names": {"0": "CT"}, "labels": labels, "file_ending": ".nii"}
        >>> check_raw_dataset_json({**description, "numTraining": 5})  # raises nothing: all is well
        >>> try:
        ...     check_raw_dataset_json({**description, "numTraining": "five"})
        ... except UserError as error:
        ...     print(error)
        dataset.json: the entry numTraining is "five"; write the number of training cases.
    """
    check_dataset_json(description, source=source)
    names = channel_names(description, source=source)
    if "channel_names" not in description:
        raise UserError(f'{source} calls its channels "modality", as nnU-Net v1 did; call the entry "channel_names".')
    if "modality" in description and channel_names({"modality": description["modality"]}, source=source) != names:
        raise UserError(
            f"{source} has other channels in the old entry modality, which nnU-Net counts too, than in channel_names; "
            "remove modality."
        )
    numbers = [int(number) for number in description["channel_names"]]
    if numbers != sorted(numbers):
        raise UserError(
            f"{source}: channel_names lists the numbers {_listed(numbers)} in this order, which nnU-Net takes for the "
            f'order of the channels; write "channel_names": {_as_mapping(names)}.'
        )
    labels = named_labels(description, source=source)
    _refuse_gaps(labels, source)
    training = description.get("numTraining")
    if not isinstance(training, int) or isinstance(training, bool) or training < 1:
        given = f"is {_json(training)}" if "numTraining" in description else "is missing"
        raise UserError(f"{source}: the entry numTraining {given}; write the number of training cases.")


def channel_names(description: Mapping[str, Any], *, source: str = "dataset.json") -> list[str]:
    """Names of the channels in the order of their numbers, from the content of a `dataset.json`, old or new.

    Args:
        description: Content of `dataset.json`.
        source: What messages call the file.

    Raises:
        UserError: There are none, or they are not named by number.

    Example:
        >>> channel_names({"channel_names": {"1": "T2", "0": "T1"}})
        ['T1', 'T2']
    """
    key = _channel_key(description)
    if key not in description:
        raise UserError(f"{source} has no {key}: write {_entry(key, ['T1', 'T2'])}.")
    given = description[key]
    if isinstance(given, list) and given and all(isinstance(name, str) for name in given):
        raise UserError(
            f"{source}: {key} is a list of names, and nnU-Net needs their numbers: write {_entry(key, given)}."
        )
    if not isinstance(given, Mapping) or not given:
        raise UserError(f"{source}: {key} is {_json(given)}; write it as {_entry(key, ['T1', 'T2'])}.")
    if not any(map(_is_number, given)) and all(_is_whole(value) or _is_number(value) for value in given.values()):
        turned = sorted(given, key=lambda name: int(given[name]))
        raise UserError(
            f"{source}: {key} maps numbers to names, and these are the other way round: write {_entry(key, turned)}."
        )
    for number, name in given.items():
        if not _is_number(number) or not isinstance(name, str) or not name:
            raise UserError(
                f"{source}: {key} has the entry {_json(number)}: {_json(name)}; it maps numbers to names, as in "
                f"{_entry(key, ['T1', 'T2'])}."
            )
    return [given[number] for number in sorted(given, key=int)]


def named_labels(description: Mapping[str, Any], *, source: str = "dataset.json") -> dict[str, int | list[int]]:
    """The labels by name: a value, or the values of which a region consists.

    Args:
        description: Content of `dataset.json`.
        source: What messages call the file.

    Raises:
        UserError: There are no labels, or they are not values by name, or two names stand for the same.

    Example:
        >>> try:
        ...     named_labels({"labels": {"0": "background", "1": "lesion"}})
        ... except UserError as error:
        ...     print(error)
        dataset.json: labels map names to values, and these are the other way round: write "labels": {"background": 0,
        "lesion": 1}.
    """
    given = description.get("labels")
    if isinstance(given, list) and given and all(isinstance(name, str) for name in given):
        raise UserError(
            f"{source}: labels is a list of names, and nnU-Net needs their values: write "
            f"{_labels_entry(enumerate(given))}."
        )
    if given is not None and not isinstance(given, Mapping):
        raise UserError(
            f"{source}: labels is {_json(given)}; write it as {_labels_entry([(0, _BACKGROUND), (1, 'lesion')])}."
        )
    if not given:
        raise UserError(f"{source} has no labels: write {_labels_entry([(0, _BACKGROUND), (1, 'lesion')])}.")
    if all(_is_number(key) for key in given) and all(isinstance(v, str) and not _is_number(v) for v in given.values()):
        turned = _labels_entry((int(value), name) for value, name in given.items())
        raise UserError(f"{source}: labels map names to values, and these are the other way round: write {turned}.")
    first: dict[tuple[int, ...], str] = {}
    for name, value in given.items():
        if not name.strip():
            raise UserError(f"{source}: the label with the value {_json(value)} has no name; give it one.")
        values = tuple(sorted(_values_of(name, value, source)))
        if values in first:
            raise UserError(
                f"{source}: the labels {first[values]!r} and {name!r} both stand for {_listed(values)}; a value has "
                "one name. Remove one of them, or correct its value."
            )
        first[values] = name
    return dict(given)


def _channel_key(description: Mapping[str, Any]) -> str:
    return "channel_names" if description.get("channel_names") or "modality" not in description else "modality"


def _refuse_channel_numbers(description: Mapping[str, Any], source: str) -> None:
    key = _channel_key(description)
    numbers = sorted(int(number) for number in description[key])
    if numbers != list(range(len(numbers))):
        raise UserError(
            f"{source}: {key} has the numbers {_listed(numbers)}; they have to be those from 0 to {len(numbers) - 1}, "
            "each once."
        )


def _values_of(name: str, value: Any, source: str) -> list[int]:
    if isinstance(value, str) and _is_number(value):
        raise UserError(
            f'{source}: the label {name!r} has a text as its value; write it without quotation marks: "{name}": '
            f"{int(value)}."
        )
    values = value if isinstance(value, list) else [value]
    if not values or not all(_is_whole(each) for each in values):
        raise UserError(
            f"{source}: the label {name!r} has the value {_json(value)}, which is neither a whole number nor a list of "
            f'them; write "{name}": 1, or for a region "{name}": [1, 2].'
        )
    if min(values) < 0 or len(set(values)) < len(values):
        wrong = "a negative value" if min(values) < 0 else "a value twice"
        raise UserError(f"{source}: the label {name!r} has {wrong} ({_json(value)}).")
    return values


def _refuse_background(labels: Mapping[str, int | list[int]], source: str) -> None:
    if _BACKGROUND not in labels:
        for name, value in labels.items():
            if name.strip().casefold() == _BACKGROUND or value in (0, [0]):
                raise UserError(f'{source}: the label {name!r} has to be written "{_BACKGROUND}": 0.')
        raise UserError(f'{source}: the labels lack the background, which nnU-Net needs: add "{_BACKGROUND}": 0.')
    if labels[_BACKGROUND] != 0 or isinstance(labels[_BACKGROUND], list):
        raise UserError(
            f'{source}: the background has the value {_json(labels[_BACKGROUND])}; it has to be "{_BACKGROUND}": 0.'
        )
    if not _foreground(labels):
        raise UserError(f"{source} names no label but the background.")


def _refuse_ignore_label(labels: Mapping[str, int | list[int]], source: str) -> None:
    if _IGNORE not in labels:
        return
    value = labels[_IGNORE]
    wanted = 1 + max(each for name in labels if name != _IGNORE for each in _as_list(labels[name]))
    if value != wanted:
        raise UserError(
            f'{source}: the label "{_IGNORE}", whose voxels nnU-Net leaves out, has the value {_json(value)}; it has '
            f'to be the one after the largest of the others: "{_IGNORE}": {wanted}.'
        )


def _refuse_gaps(labels: Mapping[str, int | list[int]], source: str) -> None:
    values = sorted({each for value in labels.values() for each in _as_list(value)})
    missing = next((number for number, value in enumerate(values) if value != number), None)
    if missing is not None:
        name = next(name for name, value in labels.items() if values[missing] in _as_list(value))
        raise UserError(
            f"{source}: the labels have the values {_listed(values)}, and nnU-Net needs whole numbers without a gap: "
            f"{missing} is missing before {values[missing]} ({name!r}). Number them from 0 to {len(values) - 1}, here "
            "and in the label maps."
        )


def _refuse_order_of_regions(labels: Mapping[str, int | list[int]], order: Any, source: str) -> None:
    names = _foreground(labels)
    values = sorted({each for name in names for each in _as_list(labels[name])} - {0})
    form = f'"regions_class_order": [{_listed(range(1, len(names) + 1))}]'
    if order is None:
        regions = ", ".join(repr(name) for name in names if len(_as_list(labels[name])) > 1)
        raise UserError(
            f"{source} defines regions ({regions}) and has no regions_class_order: write for each of {_listed(names)} "
            f"the value that its voxels get in a label map, the later ones on top of the earlier, such as {form}."
        )
    if not isinstance(order, list) or not all(_is_whole(each) for each in order) or len(order) != len(names):
        raise UserError(
            f"{source}: regions_class_order is {_json(order)}; it has to hold one value for each of {_listed(names)}, "
            f"such as {form}."
        )
    unknown = next((each for each in order if each not in values), None)
    if unknown is not None:
        raise UserError(
            f"{source}: regions_class_order has the value {unknown}, which is none of the labels' ({_listed(values)})."
        )


def _foreground(labels: Mapping[str, int | list[int]]) -> list[str]:
    return [name for name, value in labels.items() if name != _IGNORE and set(_as_list(value)) != {0}]


def _defines_regions(labels: Mapping[str, int | list[int]]) -> bool:
    return any(len(_as_list(value)) > 1 for value in labels.values())


def _as_list(value: int | list[int]) -> list[int]:
    return value if isinstance(value, list) else [value]


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(text: Any) -> bool:
    return isinstance(text, str) and re.fullmatch(r"[0-9]{1,9}", text) is not None


def _entry(key: str, names: Sequence[str]) -> str:
    return f'"{key}": {_as_mapping(names)}'


def _as_mapping(names: Sequence[str]) -> str:
    return _object((str(number), name) for number, name in enumerate(names))


def _labels_entry(values: Iterable[tuple[int, str]]) -> str:
    return f'"labels": {_object((name, value) for value, name in values)}'


def _object(entries: Iterable[tuple[str, object]]) -> str:
    """A JSON object of which a sentence shows the first entries."""
    shown = [f"{_json(key)}: {_json(value)}" for key, value in entries]
    return "{" + ", ".join(shown[:_SHOWN] + ["…"] * (len(shown) > _SHOWN)) + "}"


def _json(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= 60 else f"{text[:59]}…"


def _listed(values: Iterable[object]) -> str:
    listed = [str(value) for value in values]
    return ", ".join(listed if len(listed) <= 12 else [*listed[:11], "…", listed[-1]])
