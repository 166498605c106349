"""The check of all options, before any of them is used."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from monai.bundle import ConfigParser
from pydantic import TypeAdapter, ValidationError

from custom.error_causes import find_input_error
from custom.error_hook import show_input_errors_in_one_line
from custom.errors import InputError, short_reason
from custom.options.command_line import (
    OWN_OPTIONS,
    CommandLine,
    check_ids,
    check_keys,
    read_command_line,
    refuse_expression,
)
from custom.options.keys import COMMANDS, PARTS, Kinds
from custom.options.kinds import NAME, Wanted
from custom.options.overlays import check_overlay_names, check_overlays, files_of, order_advice
from custom.options.parts import argument_kind, arguments_at, check_parts, check_references, is_set, value_at
from custom.options.running import Running, find_running
from custom.wording import did_you_mean, shown

__all__ = ["check", "check_name", "check_values"]

LEAST_CHANNELS_LAST = 8
"""Width of the trainable encoder from which on channels_last is safe."""

OWN_FILE = "change it in a file of your own, added to --config_file"


def check(command: str) -> None:
    """First thing that a configuration evaluates: check all options of the running workflow and give them their types.

    Options on the command line are taken as they were typed, whatever Fire made of them. Options that are expressions
    in a configuration file are checked once they can be evaluated without any part of the workflow.

    Args:
        command: name of the configuration, one of `custom.options.keys.COMMANDS`.

    Raises:
        InputError: a wrong value, an unknown key, or a value that MONAI would evaluate and that is in no file.
    """
    show_input_errors_in_one_line()
    running = find_running()
    if running is None:
        return
    kinds, parser = COMMANDS[command], running.workflow.parser
    config = parser.get()
    command_line = read_command_line() if running.by_monai else None
    files = [] if command_line is None else files_of(command_line.options.get("config_file"))
    given = _given(running, command_line, kinds)
    check_keys(config, kinds, given)
    check_overlays(files)
    _check_parts(config, parser, given, files)
    raw = {key: value_at(config, key) for key in kinds if is_set(config, key)}
    raw = {key: value for key, value in raw.items() if not _is_expression(value)}
    values = check_values(command, raw | {key: value for key, value in given.items() if key in kinds}, given)
    values |= _values_of_parts(config, parser, kinds, given)
    changed = {key: value for key, value in values.items() if _differs(value, value_at(config, key))}
    for key, value in changed.items():
        parser[key] = value
    if changed:
        parser.parse(reset=True)
    resolved = {key: _resolve(parser, key) for key in _independent(config, kinds)}
    values |= check_values(command, resolved)
    _check_agreement(values, given)
    check_overlay_names(given)
    if command_line is not None and _refers_to_options_only(config, "data", kinds, set()):  # code may want no data
        parser.get_parsed_content("data")  # reports dataset_dir, datalist and labelled before a folder is made


def check_values(command: str, values: Mapping[str, Any], given: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """The values with their types: texts such as "3" and "true" become what they mean, "~" becomes the home folder.

    Args:
        command: name of the configuration, one of `custom.options.keys.COMMANDS`.
        values: of some or all of its keys; others are refused.
        given: those that come from the command line, for the message.

    Raises:
        InputError: a value of the wrong type or out of range, with what to give.
    """
    kinds = COMMANDS[command]
    for key in values:
        if key not in kinds:
            raise InputError(f"{key} is no option; options are {', '.join(sorted(kinds))}")
    return {key: _validate(key, kinds[key], value, given or ()) for key, value in values.items()}


def check_name(key: str, value: Any) -> str:
    """A name of a folder.

    Raises:
        InputError: `value` is no plain name; `key` begins the message.
    """
    return _validate(key, NAME, value, ())


def _validate(key: str, kind: Any, value: Any, given: Any) -> Any:
    try:
        return _adapter(kind).validate_python(value)
    except ValidationError:
        dashes = "--" if key in given else ""
        text = "without a value" if dashes and value is True else shown(value)
        raise InputError(f"{dashes}{key} {text}: give {_wanted(kind).words}") from None


@cache
def _adapter(kind: Any) -> TypeAdapter:
    return TypeAdapter(kind)


def _wanted(kind: Any) -> Wanted:
    return [mark for mark in kind.__metadata__ if isinstance(mark, Wanted)][-1]


def _is_expression(value: Any) -> bool:
    return isinstance(value, str) and value[:1] in ("$", "@", "%")


def _differs(new: Any, old: Any) -> bool:
    return type(new) is not type(old) or new != old


def _given(running: Running, command: CommandLine | None, kinds: Kinds) -> dict[str, Any]:
    """What comes from outside of the configuration files, by key: texts as typed, or values that code gave."""
    if command is None:
        given = {key: value for key, value in running.overrides.items() if key in kinds}
        for key, value in given.items():
            if not isinstance(value, Mapping):
                refuse_expression(f"{key} {shown(value)}", value)
        return given
    command = CommandLine(command.positional, running.overrides | command.options)  # the first may come from args_file
    for key, value in command.options.items():
        refuse_expression(f"--{shown(key)} {shown(value)}", value)
    for key in command.options:
        if key in PARTS or any(part.startswith("_") for part in re.split("#|::", key)[1:]):
            raise InputError(f"--{shown(key)} is no option: {OWN_FILE}")
    check_ids(command, running.workflow.parser.get())
    return {key.replace("::", "#"): value for key, value in command.options.items() if key not in OWN_OPTIONS}


def _check_parts(
    config: Mapping[str, Any], parser: ConfigParser, given: Mapping[str, Any], files: Sequence[Path]
) -> None:
    check_references(config)
    try:
        check_parts(config, parser.locator)
    except InputError as error:
        raise InputError(f"{error}{order_advice(files)}") from None
    for key in given:  # MONAI leaves an option out whose value is None
        parent, _, name = key.rpartition("#")
        takes = arguments_at(config, parent, parser.locator) if parent else {}
        if takes and name not in takes and not is_set(config, key):
            raise InputError(f"--{shown(key)}: {parent} takes no such value{did_you_mean(name, takes)}")


def _resolve(parser: ConfigParser, key: str) -> Any:
    try:
        return parser.get_parsed_content(key)
    except Exception as error:
        if find_input_error(error) is not None:
            raise
        reason = short_reason(error.__cause__ or error)
        raise InputError(f"{key} {shown(parser[key])}: cannot be evaluated ({reason}); correct it") from error


def _values_of_parts(
    config: Mapping[str, Any], parser: ConfigParser, kinds: Kinds, given: Mapping[str, Any]
) -> dict[str, Any]:
    """Values on the command line that are no listed option."""
    values = {}
    for key in (key for key in given if key not in kinds):
        kind = argument_kind(config, key, parser.locator)
        if kind is not None:
            values[key] = _validate(key, kind, given[key], given)
        elif "#" in key or not _is_plain(config[key]):
            raise InputError(f"--{shown(key)} is no option: {OWN_FILE}")
    return values


def _is_plain(value: Any) -> bool:
    """Whether a user's overlay may add such an option; everything else is changed in files."""
    return isinstance(value, (bool, int, float))


def _independent(config: Mapping[str, Any], kinds: Kinds) -> list[str]:
    """Options that are expressions and need nothing but other options: resolving them makes no part of a workflow."""
    expressions = [key for key in kinds if "#" not in key and _is_expression(config.get(key))]
    return [
        key for key in expressions if not _wanted(kinds[key]).is_text and _needs_options_only(config, key, kinds, set())
    ]


def _needs_options_only(config: Mapping[str, Any], key: str, kinds: Kinds, seen: set[str]) -> bool:
    if key in seen:
        return True
    seen.add(key)
    if key not in kinds or key not in config or key == "output_dir":
        return False
    return not _is_expression(config[key]) or _refers_to_options_only(config, key, kinds, seen)


def _refers_to_options_only(config: Mapping[str, Any], key: str, kinds: Kinds, seen: set[str]) -> bool:
    names = re.findall(r"@([A-Za-z_][\w:#]*)", json.dumps(config.get(key), default=str))
    return bool(config.get(key)) and all(_needs_options_only(config, name, kinds, seen) for name in names)


def _check_agreement(values: Mapping[str, Any], given: Mapping[str, Any]) -> None:
    """Options that must fit each other."""
    steps = values.get("network_def#diffusion_steps")
    sampled = values.get("network_def#sampling_steps")
    if steps is not None and sampled is not None and sampled > steps:
        raise InputError(f"network_def#sampling_steps {sampled}: give at most diffusion_steps, which is {steps}")
    _check_widths(values)
    _check_memory_order(values)
    _check_subfolder(values, given)


def _check_widths(values: Mapping[str, Any]) -> None:
    widths, groups, size = values.get("widths", []), values.get("norm_num_groups", 1), values.get("image_size", 0)
    if any(width % groups for width in widths):
        raise InputError(f"widths {shown(widths)}: give multiples of norm_num_groups, which is {groups}")
    factor = 2 ** max(0, len(widths) - 1)
    if size % factor:
        raise InputError(f"image_size {size}: give a multiple of {factor}, which {len(widths)} widths need")


def _check_memory_order(values: Mapping[str, Any]) -> None:
    """PyTorch 2.13 on processors with AVX2 alone writes beyond its memory where fewer channels are strided so."""
    width = values.get("width")
    if values.get("channels_last") and width is not None and width < LEAST_CHANNELS_LAST:
        raise InputError(
            f"width {width}: give at least {LEAST_CHANNELS_LAST} with channels_last, since PyTorch's convolution of "
            "fewer channels in this order is not safe on every processor"
        )


def _check_subfolder(values: Mapping[str, Any], given: Mapping[str, Any]) -> None:
    """A folder that was asked for must be there; the one that the configuration names is for the hub and may not be."""
    if "first_stage_subfolder" not in given:
        return
    stage, subfolder = values.get("first_stage"), values["first_stage_subfolder"]
    if subfolder and isinstance(stage, str) and os.path.isdir(stage) and not Path(stage, subfolder).is_dir():
        raise InputError(f"first_stage_subfolder {shown(subfolder)}: {stage} has no such folder; give none")
