"""Whether two plans are of one training, so that one command may continue what another began."""

from __future__ import annotations

import json
from typing import Any

from ...methods.registry import default_options
from ...recipes.tags import flattened
from ..run_setup import KEY, RunSetup

_MOST = 3
"""The most differences that are named."""


def differences(existing: dict[str, Any], plans: dict[str, Any], *, fold: str, begun: bool) -> list[str]:
    """Say in which values plans differ from existing ones; nothing if they continue the same training.

    The version that wrote them does not count, nor whether a default option was given. Which fold teaches belongs to
    the student's fold, and counts for that one.

    Args:
        existing: Plans with a setup.
        plans: The same, newly made.
        fold: The fold that is to be trained.
        begun: Whether it has been trained already.
    """
    before, now = _comparable(existing), _comparable(plans)
    changed = _changed(before, now)
    words = [f"{key.split('.')[-1]} {before.get(key)}, now {now.get(key)}" for key in changed[:_MOST]]
    old, new = (RunSetup.of(each).distillation for each in (existing, plans))
    if old and new and (begun or fold in old.teacher.folds):
        was, will_be = old.teacher.folds_for(fold), new.teacher.folds_for(fold)
        if was != will_be:
            words.append(f"fold {fold} taught by the teacher's fold {', '.join(was)}, now by {', '.join(will_be)}")
    return words


def differ_in_seed_alone(one: dict[str, Any], other: dict[str, Any], *, fold: str) -> bool:
    """Whether two students' plans differ, for this fold, in the seed and in nothing else but their name."""
    teachers = [setup.teacher.folds_for(fold) for each in (one, other) if (setup := RunSetup.of(each).distillation)]
    changed = set(_changed(_comparable(one), _comparable(other)))
    return changed - {"plans_name"} == {f"{KEY}.recipe.seed"} and teachers[0] == teachers[-1]


def with_folds_of(existing: dict[str, Any], plans: dict[str, Any]) -> dict[str, Any]:
    """Return existing plans that also say who teaches the folds that new ones name."""
    old, new = (RunSetup.of(each).distillation for each in (existing, plans))
    if old is None or new is None:
        return existing
    complete: dict[str, Any] = json.loads(json.dumps(existing))
    folds = {**old.teacher.folds, **new.teacher.folds}
    complete[KEY]["distillation"]["teacher"]["folds"] = dict(sorted(folds.items()))
    return complete


def _changed(before: dict[str, Any], now: dict[str, Any]) -> list[str]:
    return [key for key in {**before, **now} if key not in before or key not in now or before[key] != now[key]]


def _comparable(plans: dict[str, Any]) -> dict[str, Any]:
    """Plans as flat values, with those of the setup that older versions did not write.

    What a student starts from counts in the distillation alone: older recipes do not have it.
    """
    of_distillation = {"teacher": {"fold", "folds"}, "unlabelled": {"folder"}}
    setup: dict[str, Any] = RunSetup.of(plans).model_dump(
        mode="json",
        exclude={"nndistill_version": True, "recipe": {"description", "init"}, "distillation": of_distillation},
    )
    for part, options in ((setup["recipe"], "method_options"), (setup["distillation"], "options")):
        if part:
            part[options] = {**default_options(part["method"]), **part[options]}
    return flattened(json.loads(json.dumps({**plans, KEY: setup})))  # tuples become lists, as in a file
