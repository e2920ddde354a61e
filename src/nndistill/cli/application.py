"""The application: its commands, and how each ends: done, stopped, a mistake of the user's, or a fault of ours."""

from __future__ import annotations

import logging
import os
import sys
import traceback
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import typer
from rich.logging import RichHandler
from typer.core import TyperGroup

from ..errors import UserError
from ..idle_threads import idle_threads_sleep
from ..progress import console
from .commands.benchmark import benchmark
from .commands.compare import compare
from .commands.complexity import complexity
from .commands.demo import demo
from .commands.diagnose import diagnose
from .commands.distill import DistillCommand, distill
from .commands.evaluate import evaluate
from .commands.export import export
from .commands.phantom import phantom
from .commands.predict import predict
from .commands.prepare import prepare
from .commands.recipes import recipes
from .commands.report import report
from .commands.study import study
from .commands.teach import teach
from .commands.trainer_path import trainer_path
from .missing_extra import missing_extra

app = typer.Typer(
    help="Distil a trained 3D nnU-Net into a student many times smaller, trained to keep the fine detail.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.command()(demo)
app.command()(phantom)
app.add_typer(prepare, name="prepare")
app.command()(teach)
app.command(cls=DistillCommand)(distill)
app.command()(predict)
app.command()(benchmark)
app.command()(evaluate)
app.command()(export)
app.command()(compare)
app.command()(complexity)
app.command()(report)
app.add_typer(study, name="study")
app.command()(recipes)
app.command()(diagnose)
app.command("trainer-path")(trainer_path)

_LISTS: dict[str, Callable[[str], bool]] = {
    "--features": str.isdigit,
    "--blocks": str.isdigit,
    "--patch-size": str.isdigit,
    "--names": bool,
    "--predictions": bool,
    "--teacher-fold": lambda word: word.isdigit() or word in ("all", "out-of-fold"),
}
"""Options that take several values in a row, and what a value looks like; anything else ends the list.

Click cannot tell them from options that are repeated, such as `--option`, after which an argument may follow.
"""
_LISTS_OF_COMMANDS: dict[str, dict[str, Callable[[str], bool]]] = {
    **{
        command: {"--fold": lambda word: word.isdigit() or word == "all"}
        for command in ("predict", "export", "benchmark")
    },
    "complexity": {
        "--reduction": str.isdigit,
        "--stages": str.isdigit,
        "--architecture": ("teacher", "plain").__contains__,
    },
}
"""The same, by command: elsewhere, these options take one value, and a number after it may be a data set's."""
_INTERRUPTED = 130
_UsageError: Any = typer.BadParameter.__base__  # of Click, or of the copy of Click that Typer brings


def main(argv: list[str] | None = None) -> None:
    """Run the command line. The exit status is 0 if it is done, 2 after a user's mistake, 1 after a fault of ours."""
    os.environ.update(idle_threads_sleep(os.environ))  # read when PyTorch is imported
    _show_warnings()
    arguments = _one_value_per_option(sys.argv[1:] if argv is None else argv)
    try:
        status = app(arguments, prog_name="nndistill", standalone_mode=False)
    except UserError as error:
        status = _fail(str(error), [flag for flag in error.flags if flag in _flags_of_command(arguments)])
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
    if status == _INTERRUPTED:  # which is also what Typer returns after a KeyboardInterrupt
        console.print("stopped; what was done is kept. Run the command again, with --resume if it has that.")
    sys.exit(status if isinstance(status, int) else 0)


def _one_value_per_option(arguments: list[str]) -> list[str]:
    """Rewrite `--features 16 32` as `--features 16 --features 32`, the only form that Click parses."""
    rewritten: list[str] = []
    lists = _LISTS | _LISTS_OF_COMMANDS.get(next(iter(arguments), ""), {})
    option = None
    for argument, following in pairwise([*arguments, ""]):
        if argument in lists and _is_value(lists[argument], following):
            option = argument
        elif option and _is_value(lists[option], argument):
            rewritten += [option, argument]
        else:
            option = None
            rewritten.append(argument)
    return rewritten


def _is_value(looks_like_one: Callable[[str], bool], word: str) -> bool:
    return bool(word) and not word.startswith("--") and looks_like_one(word)


def _flags_of_command(arguments: Sequence[str]) -> set[str]:
    """The options of the command that was called; the library may name one that only other commands have."""
    command: Any = typer.main.get_command(app)
    for word in arguments:
        found = command.get_command(typer.Context(command), word) if isinstance(command, TyperGroup) else None
        if found is None:
            break
        command = found
    return {flag for parameter in command.params for flag in parameter.opts}


def _show_warnings() -> None:
    package = logging.getLogger("nndistill")
    package.setLevel(logging.INFO)
    if not package.handlers:
        package.addHandler(RichHandler(console=console, show_time=False, show_path=False))


def _fail(sentence: str, flags: Sequence[str] = ()) -> int:
    print(f"error: {sentence}", file=sys.stderr)
    if flags:
        print(f"       See the option{'s' if len(flags) > 1 else ''} {', '.join(flags)}.", file=sys.stderr)
    return 2


def _fault() -> int:
    traceback.print_exc()
    console.print("this is a bug in nnDistill, not a mistake of yours; please report it with the lines above.")
    return 1
