"""The check of all options, before any of them is used."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, get_type_hints

from monai.bundle import ConfigParser
from pydantic import TypeAdapter, ValidationError

from custom.error_hook import show_input_errors_in_one_line
from custom.errors import InputError
from custom.options.command_line import (
    OWN_OPTIONS,
    CommandLine,
    check_keys,
    read_command_line,
    refuse_expression,
    replaced_values,
)
from custom.options.kinds import NAME, TEXT, YES_OR_NO, Wanted, number, whole
from custom.options.running import Running, find_running
from custom.wording import shown

__all__ = ["check", "check_name", "check_values"]

LEAST_CHANNELS_LAST = 8
"""Width of the trainable encoder from which on channels_last is safe."""


def check(options: type) -> None:
    """First thing that a configuration evaluates: check all options of the running workflow and give them their types.

    Options on the command line are taken as they were typed, whatever Fire made of them. Options that are expressions
    in a configuration file are checked once they can be evaluated without any part of the workflow.

    Args:
        options: one of the classes of `custom.options.models`.

    Raises:
        InputError: a wrong value, an unknown key, or a value that MONAI would evaluate and that is in no file.
    """
    show_input_errors_in_one_line()
    running = find_running()
    if running is None:
        return
    parser = running.workflow.parser
    given = _given(running, options)
    config = parser.get()  # MONAI's `in` on the parser itself looks for similar keys, which is slow
    raw = {key: config[key] for key in _kinds(options) if key in config and not _is_expression(config[key])}
    values = check_values(options, raw | given, given)
    changed = {key: value for key, value in values.items() if _differs(value, config[key])}
    if changed:
        for key, value in changed.items():
            parser[key] = value
        parser.parse(reset=True)
    resolved = {key: parser.get_parsed_content(key) for key in _independent(parser, options)}
    values |= check_values(options, resolved)
    _check_agreement(values, given)
    _check_fit(values, config)
    _check_overlay_names(given, running)
    if _is_expression(config.get("data")) and _refers_to_options_only(config, "data", options, set()):
        parser.get_parsed_content("data")  # complains of dataset_dir, datalist and labelled before a folder is made


def check_values(options: type, values: Mapping[str, Any], given: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """The values with their types: texts such as "3" and "true" become what they mean, "~" becomes the home folder.

    Args:
        options: one of the classes of `custom.options.models`.
        values: of some or all of its keys; others are refused.
        given: those that come from the command line, for the message.

    Raises:
        InputError: a value of the wrong type or out of range, with what to give.
    """
    checked = {}
    kinds = _kinds(options)
    for key, value in values.items():
        if key not in kinds:
            raise InputError(f"{key} is no option; options are {', '.join(sorted(kinds))}")
        try:
            checked[key] = kinds[key].validate_python(value)
        except ValidationError:
            dashes = "--" if key in (given or ()) else ""
            text = "without a value" if dashes and value is True else shown(value)
            raise InputError(f"{dashes}{key} {text}: give {_wanted(options, key).words}") from None
    return checked


def check_name(key: str, value: Any) -> str:
    """A name of a folder.

    Raises:
        InputError: `value` is no plain name; `key` begins the message.
    """
    try:
        return TypeAdapter(NAME).validate_python(value)
    except ValidationError:
        wanted = next(mark for mark in NAME.__metadata__ if isinstance(mark, Wanted))
        raise InputError(f"{key} {shown(value)}: give {wanted.words}") from None


@cache
def _kinds(options: type) -> dict[str, TypeAdapter]:
    return {key: TypeAdapter(kind) for key, kind in get_type_hints(options, include_extras=True).items()}


@cache
def _hints(options: type) -> dict[str, Any]:
    return get_type_hints(options, include_extras=True)


def _wanted(options: type, key: str) -> Wanted:
    return [mark for mark in _hints(options)[key].__metadata__ if isinstance(mark, Wanted)][-1]


def _is_expression(value: Any) -> bool:
    return isinstance(value, str) and value[:1] in ("$", "@", "%")


def _differs(new: Any, old: Any) -> bool:
    return type(new) is not type(old) or new != old


def _given(running: Running, options: type) -> dict[str, Any]:
    """Options from outside the configuration files, by name; nested ones are checked here and have their values."""
    command = read_command_line() if running.by_monai else None
    if command is None:
        return _given_by_code(running, options)
    command = CommandLine(command.positional, running.overrides | command.options)  # the first may come from args_file
    for key, value in command.options.items():
        refuse_expression(f"--{shown(key)} {shown(value)}", value)
    check_keys(command, list(_kinds(options)))
    _check_other_options(command, running, options)
    return {key: value for key, value in command.options.items() if key in _kinds(options)}


def _given_by_code(running: Running, options: type) -> dict[str, Any]:
    given = {key: value for key, value in running.overrides.items() if key in _kinds(options)}
    for key, value in given.items():
        if not isinstance(value, Mapping):
            refuse_expression(f"{key} {shown(value)}", value)
    return given


def _check_other_options(command: CommandLine, running: Running, options: type) -> None:
    """Options that change a part of the workflow, such as train#trainer#max_epochs, must have the type of what was."""
    for key, old in replaced_values(command).items():
        if key in _kinds(options) or key in OWN_OPTIONS:
            continue
        if any(part.startswith("_") for part in re.split("#|::", key)) or isinstance(old, dict):
            raise InputError(f"--{key} is no option: change it in a file of your own, added to --config_file")
        given = command.options[key]
        root = old.removeprefix("@") if isinstance(old, str) else ""
        if root != old and root in _kinds(options):
            value = _like_option(options, root, key, given)
        else:
            value = _like(key, old, given, running.workflow.parser[key])
        if _differs(value, running.workflow.parser[key]):
            running.workflow.parser[key] = value
            running.workflow.parser.parse(reset=True)


def _like_option(options: type, option: str, key: str, given: Any) -> Any:
    try:
        return _kinds(options)[option].validate_python(given)
    except ValidationError:
        raise InputError(f"--{key} {shown(given)}: give {_wanted(options, option).words}") from None


def _like(key: str, old: Any, given: Any, read: Any) -> Any:
    """The value of a nested option, of the type of the value it replaces; `read` is what Fire made of it."""
    kinds = {bool: YES_OR_NO, int: whole(-(10**9), 10**9), float: number(-1e9, 1e9), str: TEXT}
    if isinstance(old, list) and isinstance(read, (list, tuple)) and len(old) == len(read):
        return [_like(key, before, value, value) for before, value in zip(old, read, strict=True)]
    if type(old) not in kinds or _is_expression(old):
        raise InputError(f"--{key} is no option: change it in a file of your own, added to --config_file")
    try:
        return TypeAdapter(kinds[type(old)]).validate_python(given)
    except ValidationError:
        words = next(mark for mark in kinds[type(old)].__metadata__ if isinstance(mark, Wanted)).words
        raise InputError(f"--{key} {shown(given)}: give {words}") from None


def _independent(parser: ConfigParser, options: type) -> list[str]:
    """Options that are expressions and need nothing but other options: resolving them makes no part of a workflow."""
    config = parser.get()
    expressions = [key for key in _kinds(options) if _is_expression(config.get(key))]
    return [
        key
        for key in expressions
        if not _wanted(options, key).is_text and _needs_options_only(config, key, options, set())
    ]


def _needs_options_only(config: Mapping[str, Any], key: str, options: type, seen: set[str]) -> bool:
    if key in seen:
        return True
    seen.add(key)
    if key not in _kinds(options) or key not in config or key == "output_dir":
        return False
    return not _is_expression(config[key]) or _refers_to_options_only(config, key, options, seen)


def _refers_to_options_only(config: Mapping[str, Any], key: str, options: type, seen: set[str]) -> bool:
    names = re.findall(r"@([A-Za-z_][\w:#]*)", config[key])
    return all(_needs_options_only(config, name, options, seen) for name in names)


def _check_agreement(values: Mapping[str, Any], given: Mapping[str, Any]) -> None:
    """Options that must fit each other."""
    steps, sampled = values.get("diffusion_steps"), values.get("sampling_steps")
    if steps is not None and sampled is not None and sampled > steps:
        raise InputError(f"sampling_steps {sampled}: give at most diffusion_steps, which is {steps}")
    _check_widths(values)
    _check_memory_order(values)
    _check_subfolder(values, given)


def _check_fit(values: Mapping[str, Any], config: Mapping[str, Any]) -> None:
    """Options must fit the method that the configuration trains."""
    if values.get("alignment_epochs") == 0 and "alignment" in config.get("session", {}).get("stages", {}):
        raise InputError("alignment_epochs 0: give a whole number from 1, or an overlay of a method without that stage")
    trainer = config.get("train", {}).get("trainer", {})
    known = ("masked", "ssl4mis") if trainer.get("_target_") == "custom.methods.FixMatch" else ("hard", "soft", "off")
    if "pseudo" in trainer and values.get("pseudo", known[0]) not in known:
        raise InputError(f"pseudo {values['pseudo']}: this method takes {', '.join(known)}; give one of them")


def _check_overlay_names(given: Mapping[str, Any], running: Running) -> None:
    """A name alone would train something else under this name."""
    for key in ("method", "preset"):
        overlay = running.workflow.config_root_path / f"{key}s" / f"{given.get(key)}.json"
        command = read_command_line() if key in given and running.by_monai else None
        if command and overlay.is_file() and replaced_values(command)[key] != given[key]:
            raise InputError(f"--{key} {given[key]}: add {overlay} to --config_file, which sets all that belongs to it")


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
