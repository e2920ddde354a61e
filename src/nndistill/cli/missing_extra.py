"""What to install when a command needs a package that belongs to an extra of this distribution."""

from __future__ import annotations

from importlib.util import find_spec

from ..runtime.formats import packages_and_extras

_TRAIN = "train"
_EXTRAS = {
    **dict.fromkeys(
        ("batchgenerators", "dynamic_network_architectures", "jinja2", "matplotlib", "nibabel", "pandas", "PIL")
        + ("pywt", "yaml"),
        _TRAIN,
    ),
    "nncf": "export",
    **packages_and_extras(),
}


def missing_extra(module: str | None) -> str | None:
    """Say which extra installs a module that could not be imported; `None` if none of them does.

    Args:
        module: Its name, as in `ModuleNotFoundError.name`.
    """
    extra = _EXTRAS.get(module or "")
    if extra is None:
        return None
    if extra == _TRAIN and find_spec("torch") is None:
        missing = "PyTorch and nnU-Net, which are"
    else:
        missing = f"{module}, which is"
    return f"this command needs {missing} not installed: pip install '.[{extra}]' in nnDistill's repository"
