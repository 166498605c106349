"""Settings of all runs that are given on the command line, as `--key value`."""

from __future__ import annotations

import ast
import json
import os
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from custom.benchmark.protocol import RESERVED, known_settings, refuse_evaluated
from custom.command_line import is_evaluated, unprintable
from custom.errors import InputError
from custom.wording import did_you_mean

__all__ = ["parse_overrides", "refuse_mistyped"]


def parse_overrides(arguments: Sequence[str], base: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Settings from `--key value` or `--key=value`; numbers, lists, true, false and null become values.

    Args:
        arguments: the words of the command line.
        base: `train.yaml`; what is a text there stays a text, even if it looks like a number.

    Raises:
        InputError: something that is no such pair, or a value that a configuration would evaluate.
    """
    overrides: dict[str, Any] = {}
    rest = list(arguments)
    while rest:
        token = rest.pop(0)
        key, has_value, text = token.removeprefix("--").partition("=")
        if not token.startswith("--") or not key:
            raise InputError(f"{token!r} is no option; write --KEY VALUE")
        if not has_value:
            if not rest or rest[0].startswith("--"):
                raise InputError(f"{token} has no value; write {token} VALUE")
            text = rest.pop(0)
        key = key.replace("-", "_").replace("::", "#")
        overrides[key] = _as_value(key, text, stays_text=_is_text(key, base or {}))
    return overrides


def refuse_mistyped(overrides: Collection[str], base: Mapping[str, Any], options: Sequence[str]) -> None:
    """Refuse a key that is near an option of the command and no setting.

    Args:
        overrides: the keys that are no option of the command.
        base: `train.yaml`, empty if there is no bundle yet.
        options: names of the command's options.

    Raises:
        InputError: it names the nearest option or setting.
    """
    known = known_settings(base)
    for key in overrides:
        if key.split("#")[0] not in (*base, *RESERVED):
            hint = did_you_mean(key, [*options, *known])
            if hint or known:
                raise InputError(f"unknown option --{key}{hint or '; see --help, and the keys of train.yaml'}")


def _is_text(key: str, base: Mapping[str, Any]) -> bool:
    if not base:
        return False
    from custom.options.parts import value_at  # late: it brings torch, which help does not need

    value = value_at(base, key)
    return isinstance(value, str) and not is_evaluated(value)


def _as_value(key: str, text: str, stays_text: bool) -> Any:
    if reason := unprintable(text):
        raise InputError(f"--{key} {text!r} holds {reason}; give plain text")
    words = {"true": True, "false": False, "null": None}
    value: Any = text
    if text.lower() in words and not (stays_text and text.lower() != "null"):
        value = words[text.lower()]
    elif not stays_text:
        try:
            value = ast.literal_eval(text)
        except (ValueError, SyntaxError, MemoryError, RecursionError, TypeError):
            value = text
    if key == "first_stage" and text.startswith("~"):
        value = os.path.expanduser(text)
    refuse_evaluated(f"--{key} {text!r}", key, value)
    try:
        return json.loads(json.dumps(value, allow_nan=False))  # tuples become lists
    except (TypeError, ValueError, RecursionError):
        raise InputError(f"--{key} {text!r} is no number, text or list; give one") from None
