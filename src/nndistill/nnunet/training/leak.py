"""Whether a student's validation cases are new to those who made it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ..data.named_cases import named_cases
from ..data.preprocessed_case import Split

_ADVICE = "Judge it on cases that neither has seen."


def leak_of(
    *, teacher_folds: Sequence[str], fold: str, splits: Mapping[str, Split], out_of_fold: bool = False
) -> str | None:
    """Return a warning if a teacher or the student was trained on validation cases of the student's fold.

    Args:
        teacher_folds: Folds of the networks that teach: `0` to `4`, or `all`.
        fold: Fold of the student.
        splits: Training and validation cases by fold. A teacher's fold that is not among them is taken to have seen all
            cases; of a student's fold that is not, nothing is said.
        out_of_fold: Whether each case is taught by a network that has not seen it.

    Example:
        >>> splits = {"0": Split(["b"], ["a"]), "1": Split(["a"], ["b"]), "all": Split(["a", "b"], ["a", "b"])}
        >>> leak_of(teacher_folds=["1"], fold="1", splits=splits)
        >>> leak_of(teacher_folds=["1"], fold="all", splits=splits).split(",")[0]
        'The student is trained on all cases'
        >>> print(leak_of(teacher_folds=["0", "1"], fold="0", splits=splits))
        Of the 2 teachers, that of fold 1 was trained on the only validation case of fold 0 (a): the student's
        validation figures will be too good. Judge it on cases that neither has seen.
    """
    if fold == "all":
        sentence = "The student is trained on all cases, so its validation metrics say nothing about new cases."
        honest = " Each case is taught by a network that has not seen it; that makes no case new to the student."
        return sentence + honest if out_of_fold else sentence
    if fold not in splits:
        return None
    validation = splits[fold].validation
    seen_by = {each: set(validation) & _seen(each, splits, validation) for each in dict.fromkeys(teacher_folds)}
    leaking = [each for each, seen in seen_by.items() if seen]
    if not leaking:
        return None
    affected = [case for case in validation if any(case in seen for seen in seen_by.values())]
    cases = f"{_counted(affected, validation)} of fold {fold} ({named_cases(affected)})"
    if out_of_fold:
        return (
            "Each training case is taught by a network that has not seen it. But the networks of "
            f"{_folds(leaking)} were trained on {cases}: what is taught is not affected, but the student's validation "
            f"figures may be too good. {_ADVICE}"
        )
    if len(seen_by) == 1:
        seen = "all cases" if leaking == ["all"] else f"the training cases of fold {leaking[0]}"
        who = f"The teacher was trained on {seen}, among them {cases}"
    else:
        which, were = ("that", "was") if len(leaking) == 1 else ("those", "were")
        who = f"Of the {len(seen_by)} teachers, {which} of {_folds(leaking)} {were} trained on {cases}"
    return f"{who}: the student's validation figures will be too good. {_ADVICE}"


def _seen(fold: str, splits: Mapping[str, Split], all_cases: Sequence[str]) -> set[str]:
    return set(splits[fold].train if fold in splits else all_cases)


def _counted(affected: Sequence[str], validation: Sequence[str]) -> str:
    if len(validation) == 1:
        return "the only validation case"
    if len(affected) == len(validation):
        return f"all {len(validation)} validation cases"
    return f"{len(affected)} of the {len(validation)} validation cases"


def _folds(folds: Sequence[str]) -> str:
    return f"fold {folds[0]}" if len(folds) == 1 else f"folds {', '.join(folds)}"
