"""The default name of a student's run, which tells it apart from its teacher's other students."""

from __future__ import annotations

from hashlib import sha256

from ...recipes import Recipe
from ...recipes.tags import tags_of

_LONGEST = 120
"""Characters of a name; a folder's name has trainer and configuration too, and file systems allow 255 bytes."""


def default_name(
    teacher: str,
    recipe: Recipe,
    *,
    size: str,
    batch_size: int | None = None,
    teacher_checkpoint: str | None = None,
    unlabelled_share: float | None = None,
    together: str | None = None,
) -> str:
    """Name a run after its teacher's plans, method and size, and whatever is not the default.

    Args:
        teacher: The teacher's plans name.
        recipe: How it is trained, and with which method.
        size: The student's size in a word, such as `r4`.
        batch_size: Patches per batch, if it is not the teacher's.
        teacher_checkpoint: File name of the teacher's checkpoint, if it was chosen.
        unlabelled_share: Share of patches of images without labels, if there are any.
        together: How several teachers teach, if there are several.

    Example:
        >>> from nndistill import load_recipe
        >>> default_name("nnUNetResEncUNetPlans", load_recipe("paper"), size="r4")
        'nnUNetResEncUNetPlans_dcd_r4'
        >>> default_name("Plans", load_recipe("paper").adjusted(method_options={"level": 2}, init="teacher"), size="r4")
        'Plans_dcd_r4_init-teacher_level2'
        >>> default_name("Plans", load_recipe("paper"), size="r4", unlabelled_share=0.5)
        'Plans_dcd_r4_unlabelled0.5'
    """
    chosen = (teacher_checkpoint or "").removeprefix("checkpoint_").removesuffix(".pth")
    words = [
        short_name(teacher, recipe.method, size=size, init=recipe.init),
        *tags_of(recipe),
        *([f"batch{batch_size}"] if batch_size else []),
        *([f"teacher-{chosen}"] if chosen else []),
        *([f"unlabelled{unlabelled_share:g}"] if unlabelled_share is not None else []),
        *([f"teachers-{together}"] if together else []),
    ]
    name = "_".join(words)
    if len(name) <= _LONGEST:
        return name
    digest = sha256(name.encode()).hexdigest()[:8]
    return f"{name[: _LONGEST - len(digest) - 1]}_{digest}"


def with_configuration(plans: str, configuration: str) -> str:
    """Name plans that hold one configuration of several after that, too, unless they are already.

    Example:
        >>> with_configuration("nnUNetPlans", "2d"), with_configuration("nnUNetPlans_2d_teacher", "2d")
        ('nnUNetPlans_2d', 'nnUNetPlans_2d')
    """
    stem = plans.removesuffix("_teacher")
    return stem if stem.endswith(f"_{configuration}") else f"{stem}_{configuration}"


def short_name(teacher: str, method: str, *, size: str, init: str = "random") -> str:
    """Name a run after its teacher's plans, method, size and start alone, as version 0.2 did.

    Example:
        >>> short_name("nnUNetResEncUNetPlans_teacher", "none", size="r4")
        'nnUNetResEncUNetPlans_none_r4'
    """
    start = "" if init == "random" else f"_init-{init}"
    return f"{teacher.removesuffix('_teacher')}_{method}_{size}{start}"
