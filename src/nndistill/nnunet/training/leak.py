"""Whether a student's validation cases are new to those who made it."""

from __future__ import annotations


def leak_of(*, teacher_fold: str, fold: str) -> str | None:
    """Return a warning if teacher or student was trained on validation cases of the student's fold.

    Args:
        teacher_fold: Fold of the teacher's checkpoint: `0` to `4`, or `all`.
        fold: Fold of the student.

    Example:
        >>> leak_of(teacher_fold="1", fold="1")
        >>> leak_of(teacher_fold="1", fold="all").split(",")[0]
        'The student is trained on all cases'
    """
    if fold == "all":
        return "The student is trained on all cases, so its validation metrics say nothing about new cases."
    if teacher_fold == fold:
        return None
    seen = "all cases" if teacher_fold == "all" else f"the training cases of fold {teacher_fold}"
    return (
        f"The teacher was trained on {seen}, among them validation cases of fold {fold}: the student's validation "
        "figures will be too good. Judge it on cases that neither has seen."
    )
