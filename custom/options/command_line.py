"""The command line of `monai.bundle run`: read as typed, and refused where MONAI would evaluate a part of it."""

from __future__ import annotations

import inspect
import json
import re
import sys
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fire.parser import DefaultParseValue
from monai.bundle import run as bundle_run

from custom.errors import InputError
from custom.options.keys import PARTS
from custom.options.kinds import starts_like_an_expression
from custom.wording import did_you_mean, nearest_name, shown

__all__ = [
    "CommandLine",
    "check_ids",
    "check_keys",
    "nearest",
    "own_arguments",
    "read_command_line",
    "refuse_expression",
    "refuse_expressions",
]

COMMANDS = ("run", "run_workflow")
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


def check_ids(command: CommandLine, config: Mapping[str, Any]) -> None:
    """Refuse to run what cannot be run, and to leave the checks out.

    Args:
        command: the command line.
        config: the configuration with all overlays.

    Raises:
        InputError: an unknown run id, with the nearest one.
    """
    options = command.options
    if command.positional and "run_id" in options:
        raise InputError(f"run ids {shown(command.positional[0])} and {shown(options['run_id'])}: give one of them")
    run_id = (command.positional or [options.get("run_id", "run")])[0]
    runs = [key for key, value in config.items() if key not in NO_RUN_IDS and _can_be_run(value, config)]
    if run_id not in runs:
        raise InputError(f"no run id {shown(run_id)!r} in the configuration{nearest(run_id, runs)}")
    for name, usual in (("init_id", "initialize"), ("final_id", "finalize")):
        if options.get(name, usual) != usual:
            raise InputError(f"--{name} {shown(options[name])}: leave it out; the checks are in {usual!r}")


def check_keys(config: Mapping[str, Any], options: Collection[str], given: Mapping[str, Any]) -> None:
    """Refuse keys that nothing reads, which MONAI accepts without a message.

    A key is known if it is an option, if a value refers to it, if it can be run, or if it names a part.

    Args:
        config: the configuration with all overlays and options.
        options: keys that a user may set.
        given: values from the command line by key.

    Raises:
        InputError: an unknown key, with the nearest known one.
    """
    referenced = set(re.findall(r"@([A-Za-z_]\w*)", json.dumps(config, default=str)))
    known = [key for key in config if key in options or key in referenced]
    left_out = [
        key for key in given if key not in options and re.split("#|::", key)[0] not in config
    ]  # for MONAI: None
    for key in [*config, *left_out]:
        is_known = key in known or key in PARTS or key.startswith("_") or _can_be_run(config.get(key), config)
        if not is_known or (key in given and key.startswith("_")):
            dashes = "--" if key in given else ""
            raise InputError(f"unknown option {dashes}{shown(key)}{nearest(key, [*known, *options])}")


def _can_be_run(value: Any, config: Mapping[str, Any]) -> bool:
    """Whether it is a list of expressions or of other such lists, or refers to one: any other expression is a value."""
    if isinstance(value, str) and value.startswith("@"):
        return isinstance(config.get(value[1:]), list) and _can_be_run(config[value[1:]], config)
    if not isinstance(value, list) or not value:
        return False
    return all(isinstance(text, str) and (text.startswith("$") or _can_be_run(text, config)) for text in value)


def nearest(key: str, known: Sequence[str]) -> str:
    """The end of a message about an unknown key. A part whose name is mistyped is named as it should be."""
    part, *names = re.split("(#|::)", key, maxsplit=1)
    parts = {re.split("#|::", name)[0] for name in known}
    if names and part not in parts and (right := nearest_name(part, sorted(parts))):
        whole = "".join([right, *names])
        return did_you_mean(whole if whole in known else right, [whole, right])
    return did_you_mean(key, known) or "; see the configuration file for what can be set"
