"""What a command line of `monai.bundle run` says: read as typed, and refused where nothing would follow it."""

from __future__ import annotations

import inspect
import json
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fire.parser import DefaultParseValue
from monai.bundle import ConfigParser
from monai.bundle import run as bundle_run

from custom.errors import InputError
from custom.options.kinds import starts_like_an_expression
from custom.wording import did_you_mean, shown

__all__ = [
    "CommandLine",
    "check_keys",
    "nearest",
    "read_command_line",
    "refuse_expression",
    "refuse_expressions",
    "replaced_values",
]

COMMANDS = ("run", "run_workflow")
MONAI_EXPRESSIONS = ("initialize", "run", "finalize")  # which `monai.bundle run` evaluates of itself
NO_RUN_IDS = ("imports", "initialize", "finalize")
OWN_OPTIONS = set(inspect.signature(bundle_run).parameters) - {"override"}


@dataclass(frozen=True)
class CommandLine:
    """A command line: the positional arguments, and the texts of the options as they were typed; True without one."""

    positional: list[str]
    options: dict[str, Any]


def own_arguments() -> list[str] | None:
    """This process's arguments if its program is `monai.bundle`, else None."""
    is_monai = bool(sys.argv) and sys.argv[0].replace("\\", "/").endswith("monai/bundle/__main__.py")
    return sys.argv[1:] if is_monai else None


def read_command_line(arguments: Sequence[str] | None = None) -> CommandLine | None:
    """The command line as Fire splits it, without Fire's conversion of values. The last of repeated options counts.

    Args:
        arguments: the command line; None for this process's own.

    Returns:
        None where it is no `monai.bundle run` with configuration files.

    Raises:
        InputError: an argument that belongs to no option, or an option with one dash.
    """
    arguments = own_arguments() if arguments is None else arguments
    if not arguments or arguments[0] not in COMMANDS:
        return None
    rest = list(arguments[1:])
    if "--" in rest:
        raise InputError("-- stands alone: write options as --key value")
    positional, options = [], {}
    while rest:
        token = rest.pop(0)
        if not _is_flag(token):
            positional.append(token)
            continue
        name, has_value, value = token.lstrip("-").partition("=")
        key = name.replace("-", "_")
        if not token.startswith("--") or not name:
            raise InputError(f"{shown(token)} is no option: write --key value, or --key=value for a value with a dash")
        if not has_value:
            value = rest.pop(0) if rest and not _is_flag(rest[0]) else True
        options[key] = value
    if len(positional) > 1:
        raise InputError(f"{shown(positional[1])} belongs to no option: write --key value, with quotes around spaces")
    return CommandLine(positional, options) if {"config_file", "args_file"} & options.keys() else None


def _is_flag(token: str) -> bool:
    """Fire's own rule: a dash before a digit begins a negative number."""
    return token == "-" or token.startswith("--") or re.match(r"-[a-zA-Z]", token) is not None


def refuse_expressions(arguments: Sequence[str] | None = None) -> None:
    """Refuse values of a command line of `monai.bundle` that MONAI would evaluate, follow or read a file for.

    Args:
        arguments: the command line; None for this process's own.

    Raises:
        InputError: such a value, alone or inside a list or a dictionary.
    """
    arguments = own_arguments() if arguments is None else arguments
    key = ""
    for token in arguments or ():
        if token.startswith("-"):
            key, has_value, value = token.partition("=")
            if not has_value:
                continue
        else:
            value = token
        refuse_expression(f"{shown(key)} {shown(value)}".strip(), value)


def refuse_expression(where: str, value: Any) -> None:
    """Refuse a value that holds an expression, as it is or once Fire has read it.

    Raises:
        InputError: `where` begins the message.
    """
    readings = [value]
    if isinstance(value, str):
        try:
            readings.append(DefaultParseValue(value))
        except Exception:  # Fire could not read it either
            readings.append(None)
    if any(starts_like_an_expression(text) for reading in readings for text in _texts(reading)):
        raise InputError(
            f"{where}: a value must not begin with $, @ or %, which are for configuration files; "
            "put ./ before a path that does"
        )


def _texts(value: Any) -> list[str]:
    if isinstance(value, Mapping):
        return [text for pair in value.items() for part in pair for text in _texts(part)]
    if isinstance(value, (list, tuple, set)):
        return [text for part in value for text in _texts(part)]
    return [value] if isinstance(value, str) else []


def _files(command: CommandLine) -> list[str]:
    """Configuration files, as MONAI got them."""
    value = command.options.get("config_file")
    if value is None:
        value = ConfigParser.load_config_file(command.options["args_file"]).get("config_file")
    value = DefaultParseValue(value) if isinstance(value, str) else value
    return [str(file) for file in (value if isinstance(value, (list, tuple)) else [value])]


def replaced_values(command: CommandLine) -> dict[str, Any]:
    """What the configuration files say for each option of the command line that they know."""
    merged = ConfigParser(ConfigParser.load_config_files(_files(command)))
    return {key: merged[key] for key in command.options if key in merged}


def check_keys(command: CommandLine, known_options: Sequence[str] = ()) -> None:
    """Refuse overrides and overlay keys that nothing reads: MONAI accepts them in silence.

    A key is known if it is an option, if the first configuration file has it or if any value refers to it.

    Args:
        command: the command line.
        known_options: names of options that an overlay may set.

    Raises:
        InputError: an unknown key or run id, with the nearest known one.
    """
    files = _files(command)
    merged = ConfigParser(ConfigParser.load_config_files(files))
    base = ConfigParser(ConfigParser.load_config_files(files[:1]))
    known = [key for key in base.get() if not key.startswith("_")]
    _check_ids(command, merged, files[0], known, known_options)
    _check_overlays(files[1:], merged, base, known)
    for key in command.options:
        if key not in OWN_OPTIONS and (key not in merged or key.startswith("_")):
            nested = [f"{parent}#{child}" for parent in known for child in _children(base[parent])]
            raise InputError(f"unknown option --{shown(key)}{nearest(key, known + nested)}")


def _check_ids(
    command: CommandLine, merged: ConfigParser, file: str, known: list[str], known_options: Sequence[str]
) -> None:
    options = command.options
    if command.positional and "run_id" in options:
        raise InputError(f"run ids {shown(command.positional[0])} and {shown(options['run_id'])}: give one of them")
    run_id = (command.positional or [options.get("run_id", "run")])[0]
    runs = [key for key in known if key not in (*known_options, *NO_RUN_IDS) and _can_be_run(merged[key])]
    if run_id not in runs:
        raise InputError(f"no run id {shown(run_id)!r} in {file}{nearest(run_id, runs)}")
    for name, usual in (("init_id", "initialize"), ("final_id", "finalize")):
        if options.get(name, usual) != usual:
            raise InputError(f"--{name} {shown(options[name])}: leave it out; the checks are in {usual!r}")


def _can_be_run(value: Any) -> bool:
    """Whether it is a list of expressions, or one that runs something: any other expression is a value."""
    texts = value if isinstance(value, list) else [value]
    expressions = all(isinstance(text, str) and text.startswith("$") for text in texts)
    return bool(texts) and expressions and (isinstance(value, list) or ".run(" in value)


def _check_overlays(files: list[str], merged: ConfigParser, base: ConfigParser, known: list[str]) -> None:
    referenced = set(re.findall(r"@([A-Za-z_]\w*)", json.dumps(merged.get())))
    for file in files:
        for key in ConfigParser.load_config_file(file):
            root = re.split(r"#|::", key.lstrip("+"))[0]
            is_known = root in base or root in referenced or root in MONAI_EXPRESSIONS or root.startswith("_")
            if not is_known:
                raise InputError(f"{file}: unknown key {root!r}{nearest(root, known)}")


def _children(value: Any) -> list[str]:
    if not isinstance(value, dict):
        return []
    return [name for key, child in value.items() for name in (key, *(f"{key}#{inner}" for inner in _children(child)))]


def nearest(key: str, known: Sequence[str]) -> str:
    """The end of a message about an unknown key."""
    return did_you_mean(key, known) or "; see the configuration file for what can be set"
