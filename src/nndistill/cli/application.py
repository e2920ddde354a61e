"""The application: its commands, and what happens when one of them fails."""

from __future__ import annotations

import logging
import os
import sys
import traceback
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import typer
from rich.logging import RichHandler

from ..errors import UserError
from ..progress import console
from .benchmark import benchmark
from .compare import compare
from .complexity import complexity
from .demo import demo
from .diagnose import diagnose
from .distill import distill
from .evaluate import evaluate
from .export import export
from .missing_extra import missing_extra
from .phantom import phantom
from .predict import predict
from .prepare import prepare
from .recipes import recipes
from .report import report
from .teach import teach
from .trainer_path import trainer_path

app = typer.Typer(
    help="Distil a trained 3D nnU-Net into a student many times smaller that keeps the fine detail.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.command()(demo)
app.command()(phantom)
app.add_typer(prepare, name="prepare")
app.command()(teach)
app.command()(distill)
app.command()(predict)
app.command()(benchmark)
app.command()(evaluate)
app.command()(export)
app.command()(compare)
app.command()(complexity)
app.command()(report)
app.command()(recipes)
app.command()(diagnose)
app.command("trainer-path")(trainer_path)

_LISTS: dict[str, Callable[[str], bool]] = {"--features": str.isdigit, "--names": bool, "--predictions": bool}
"""Options of several values, and what a value looks like; another option ends the list."""
_INTERRUPTED = 130
_UsageError: Any = typer.BadParameter.__base__  # of Click, or of the copy of Click that Typer brings


def main(argv: list[str] | None = None) -> None:
    """Run the command line; exit 0 when done, 2 for a user's mistake, 1 for a fault of ours."""
    # Threads of PyTorch that spin while they wait starve whatever else runs; it has to be set before the import.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    _show_warnings()
    arguments = _one_value_an_option(sys.argv[1:] if argv is None else argv)
    try:
        status = app(arguments, prog_name="nndistill", standalone_mode=False)
    except UserError as error:
        status = _fail(str(error))
    except ModuleNotFoundError as error:
        status = _fail(missing) if (missing := missing_extra(error.name)) else _fault()
    except _UsageError as error:
        context = f" See {error.ctx.command_path} --help." if error.ctx else ""
        status = _fail(error.format_message().rstrip(".") + "." + context)
    except typer.Exit as stop:
        status = stop.exit_code
    except (typer.Abort, KeyboardInterrupt):
        status = _INTERRUPTED
    except Exception:
        status = _fault()
    if status == _INTERRUPTED:  # Typer, too, makes this of a KeyboardInterrupt
        console.print("stopped; what was done is kept. Run it again to go on, with --resume where it has that.")
    sys.exit(status if isinstance(status, int) else 0)


def _one_value_an_option(arguments: list[str]) -> list[str]:
    """Rewrite `--features 16 32` as `--features 16 --features 32`, the only form that Click understands."""
    rewritten: list[str] = []
    option = None
    for argument, following in pairwise([*arguments, ""]):
        if argument in _LISTS and _is_value(argument, following):
            option = argument
        elif option and _is_value(option, argument):
            rewritten += [option, argument]
        else:
            option = None
            rewritten.append(argument)
    return rewritten


def _is_value(option: str, word: str) -> bool:
    return bool(word) and not word.startswith("--") and _LISTS[option](word)


def _show_warnings() -> None:
    package = logging.getLogger("nndistill")
    package.setLevel(logging.INFO)
    if not package.handlers:
        package.addHandler(RichHandler(console=console, show_time=False, show_path=False))


def _fail(sentence: str) -> int:
    print(f"error: {sentence}", file=sys.stderr)
    return 2


def _fault() -> int:
    traceback.print_exc()
    console.print("this is a fault of nnDistill, not yours; please report it with the lines above.")
    return 1
