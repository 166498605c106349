"""What all commands of this package share: options that are checked at once, and one line for what is wrong.

A command is a `click.command(cls=Command)` whose options have the types below, and `CommandGroup` holds several.
`run_command` calls them. Options may be written with hyphens or underscores. This module imports neither torch nor
MONAI: help and errors come at once.
"""

from __future__ import annotations

import importlib
import math
import os
import re
import stat
import sys
import unicodedata
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from custom.error_hook import show_input_errors_in_one_line
from custom.errors import InputError
from custom.wording import did_you_mean, nearest_name, shown

__all__ = [
    "BUNDLE",
    "EVALUATED",
    "SEED",
    "Command",
    "CommandGroup",
    "Name",
    "Number",
    "PathOrId",
    "PathTo",
    "Text",
    "Values",
    "WholeNumber",
    "is_evaluated",
    "output_folder",
    "run_command",
    "unprintable",
]

EVALUATED = ("$", "@", "%")
"""How a text begins that MONAI takes for an expression, a reference or a macro."""

CHARACTERS_REFUSED = {"Cc": "a control character", "Cs": "bytes that are no text in UTF-8"}


def run_command(command: click.Command, arguments: Sequence[str] | None = None, program: str = "") -> Any:
    """Call a command; returns what its function returns.

    Args:
        command: the command.
        arguments: its arguments; None for those of this process.
        program: how the command is called, for its help.

    Raises:
        InputError: something is wrong with the arguments; one line that names the option and the fix.
        SystemExit: after the help, with status 0.
    """
    show_input_errors_in_one_line()
    texts = list(sys.argv[1:] if arguments is None else map(str, arguments))
    try:
        with command.make_context(program or command.name, texts) as context:
            return command.invoke(context)
    except click.exceptions.Exit as error:
        raise SystemExit(error.exit_code) from None
    except click.ClickException as error:
        raise InputError(_one_line(error)) from None


def is_evaluated(value: Any) -> bool:
    """Whether a configuration would evaluate, resolve or instantiate this value or a part of it.

    Such are texts that begin with `$`, `@` or `%`, and everything with keys.
    """
    if isinstance(value, str):
        return value.lstrip().startswith(EVALUATED) or any(mark in value for mark in ("@#", "%#"))
    if isinstance(value, (list, tuple, set)):
        return any(map(is_evaluated, value))
    return isinstance(value, dict)


def unprintable(text: str) -> str:
    """What kind of character `text` holds that no name or path should have, in words; empty if there is none."""
    return next(filter(None, (CHARACTERS_REFUSED.get(unicodedata.category(character)) for character in text)), "")


def _normalised(name: str) -> str:
    return name.replace("_", "-")


_CONTEXT = {"token_normalize_func": _normalised, "max_content_width": 120, "help_option_names": ["-h", "--help"]}


class Command(click.Command):
    """A command whose options may be written with hyphens or underscores."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        options["context_settings"] = _CONTEXT | (options.get("context_settings") or {})
        super().__init__(*arguments, **options)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse, with several values of one option as repetitions of it. The last of repeated options counts."""
        return super().parse_args(ctx, self._separate_values(ctx, args))

    def _separate_values(self, ctx: click.Context, args: Sequence[str]) -> list[str]:
        """`--names a b --x` as `--names a --names b --x`, for the options that take several values."""
        several = {
            _normalised(name) for param in self.get_params(ctx) if isinstance(param, Values) for name in param.opts
        }
        parted: list[str] = []
        option = None
        for word in args:
            if word.startswith("-"):
                option = word if _normalised(word) in several else None
                values = 0
                parted.append(word)
            elif option and values:
                parted += [option, word]
            else:
                values = 1
                parted.append(word)
        return parted


class CommandGroup(click.Group):
    """Several commands under one name. Each is imported when it is called, so that the help of all comes at once.

    Args:
        commands: the module that holds each command as `command`, and one line on what it does, by name.
        help: what the commands are for.
    """

    def __init__(self, commands: Mapping[str, tuple[str, str]], help: str) -> None:
        super().__init__(help=help, context_settings=_CONTEXT, no_args_is_help=False, subcommand_metavar="COMMAND ...")
        self.modules = commands

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Names in the order of the help."""
        return list(self.modules)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command, or None for an unknown name."""
        if cmd_name not in self.modules:
            return None
        return importlib.import_module(self.modules[cmd_name][0]).command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write one line for each command, without its import."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, summary) for name, (_, summary) in self.modules.items()])

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """The command that the first of the arguments names, and its arguments."""
        name = _normalised(args[0])
        if (command := self.get_command(ctx, name)) is None:
            hint = did_you_mean(name, self.modules)
            raise InputError(f"COMMAND: {args[0]!r} is not one of {', '.join(self.modules)}{hint}")
        return name, command, args[1:]


class Values(click.Option):
    """An option that takes one value or more: `--names a b`."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, multiple=True, **options)


class WholeNumber(click.ParamType):
    """A whole number from `low` to `high`."""

    name = "number"

    def __init__(self, low: int, high: int) -> None:
        self.low, self.high = low, high

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """The number; refuses everything else."""
        fits = re.fullmatch(r"[+-]?[0-9]{1,20}", str(value)) and self.low <= int(value) <= self.high
        if not fits:
            self.fail(f"{value!r} is no whole number from {self.low} to {self.high}; give one", param, ctx)
        return int(value)


SEED = WholeNumber(0, 2**32 - 2)  # NumPy takes 32 bits, and one more than the seed is used too


class Number(click.ParamType):
    """A number between two bounds.

    Args:
        low: the smallest.
        high: the bound above, itself no longer allowed.
        above: whether `low` itself is not allowed either.
    """

    name = "number"

    def __init__(self, low: float, high: float, above: bool = False) -> None:
        self.low, self.high, self.above = low, high, above

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """The number; refuses everything else, and what is not finite."""
        is_number = re.fullmatch(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?", str(value))
        number = float(value) if is_number else math.nan
        if not self.low <= number < self.high or (self.above and number == self.low):
            begin = f"above {self.low:g}" if self.above else f"from {self.low:g}"
            self.fail(f"{value!r} is no number {begin} to less than {self.high:g}; give one", param, ctx)
        return number


class Text(click.ParamType):
    """A text that is data, not an expression: not empty, printable, and nothing that a configuration evaluates."""

    name = "text"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """The text as it is."""
        self._check_characters(value, param, ctx)
        if is_evaluated(value):
            self.fail(f"{value!r} would be evaluated in a configuration; give a text without $, @ or %", param, ctx)
        return value

    def _check_characters(self, text: str, param: click.Parameter | None, ctx: click.Context | None) -> None:
        if not text.strip():
            self.fail("is empty; give a value, or leave the option out", param, ctx)
        if text.startswith("--"):
            self.fail(f"has no value before {text}; give one", param, ctx)
        if reason := unprintable(text):
            self.fail(f"{text!r} holds {reason}; give plain text", param, ctx)


class PathOrId(Text):
    """A path, in which `~` is the home folder, or an id on a hub."""

    name = "path or id"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """The text; only `~` is replaced."""
        text = super().convert(value, param, ctx)
        return str(_expanded(self, text, param, ctx)) if text.startswith("~") else text


class Name(Text):
    """One of the known names; an error names the nearest one."""

    name = "name"

    def __init__(self, known: Iterable[str]) -> None:
        self.known = list(known)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """The name."""
        self._check_characters(value, param, ctx)
        if value not in self.known:
            hint = did_you_mean(value, self.known)
            self.fail(f"{value!r} is not one of {', '.join(self.known)}{hint}", param, ctx)
        return value


class PathTo(Text):
    """A path, in which `~` is the home folder.

    Args:
        what: "folder", "file", or "file or folder".
        new: what the command makes: it may be missing, but it must be possible to write there.
        missing: the error for a path that does not exist.
    """

    name = "path"

    def __init__(
        self, what: str = "file or folder", new: bool = False, missing: str = "does not exist; correct the path"
    ) -> None:
        self.what, self.new, self.missing = what, new, missing

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Path:
        """The path, as it was written but for `~`."""
        text = str(value)
        self._check_characters(text, param, ctx)
        path = _expanded(self, text, param, ctx)
        text = shown(text, 200)
        try:
            mode = os.stat(path).st_mode
        except (FileNotFoundError, NotADirectoryError):
            if not self.new:
                self.fail(f"{text} {self.missing}", param, ctx)
            self._check_place(path, param, ctx)
            return path
        except OSError as error:
            self.fail(f"{text} cannot be used ({error.strerror}); give another path", param, ctx)
        found = "folder" if stat.S_ISDIR(mode) else "file" if stat.S_ISREG(mode) else "pipe, socket or device"
        if found not in self.what:
            self.fail(f"{text} is a {found}; give a {self.what}", param, ctx)
        if not os.access(path, os.W_OK if self.new else os.R_OK):
            self.fail(f"{text} cannot be {'written' if self.new else 'read'}: permission denied", param, ctx)
        return path

    def _check_place(self, path: Path, param: click.Parameter | None, ctx: click.Context | None) -> None:
        """Refuse a place where nothing can be made: below a file, or in a folder that is not ours."""
        parent = next(folder for folder in path.absolute().parents if os.path.lexists(folder))
        if os.path.islink(path):
            self.fail(f"{path} is a link to nothing; remove it or give another path", param, ctx)
        if not parent.is_dir():
            self.fail(f"{path} cannot be made: {parent} is no folder; give another path", param, ctx)
        if not os.access(parent, os.W_OK | os.X_OK):
            self.fail(f"{path} cannot be made: no permission to write to {parent}", param, ctx)


BUNDLE = PathTo("folder", missing="is not a bundle: there is no such folder; correct the path")


def output_folder(text: str = "Folder to write to; made if missing.") -> Callable[[Callable], Callable]:
    """The option `--output DIR`, a folder that the command makes; `text` is its help."""
    return click.option("--output", type=PathTo("folder", new=True), required=True, metavar="DIR", help=text)


def _expanded(kind: click.ParamType, text: str, param: click.Parameter | None, ctx: click.Context | None) -> Path:
    try:
        return Path(text).expanduser()
    except RuntimeError:
        kind.fail(f"{text}: there is no such user; write the whole path", param, ctx)


def _spelling(param: click.Parameter) -> str:
    """How the user writes a parameter: `--max-side`, or `DATASET`."""
    return max(param.opts, key=len) if isinstance(param, click.Option) else param.human_readable_name


def _one_line(error: click.ClickException) -> str:
    """What is wrong and the fix."""
    if isinstance(error, click.NoSuchOption):
        return f"unknown option {error.option_name!r}; {_nearest_option(error.option_name, error.ctx)}"
    if isinstance(error, click.MissingParameter) and error.param is not None:
        return f"{_spelling(error.param)} is missing; give it, see --help"
    if isinstance(error, click.BadParameter) and error.param is not None:
        return f"{_spelling(error.param)}: {error.message}"
    return " ".join(error.format_message().split()).rstrip(".") + "; see --help"


def _nearest_option(name: str, context: click.Context | None) -> str:
    if not name.startswith("--"):
        return "options begin with two hyphens, see --help"
    params = context.command.get_params(context) if context else []
    spelled = {_normalised(spelling): spelling for param in params for spelling in param.opts if spelling != "-h"}
    nearest = nearest_name(_normalised(name), spelled)
    return f"did you mean {spelled[nearest]}?" if nearest else "see --help"
