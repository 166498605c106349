"""JSON files that people wrote or that came from elsewhere: read, or refused in one line."""

from __future__ import annotations

import json
import os
from typing import Any, NoReturn

from custom.errors import InputError
from custom.files import open_file

__all__ = ["read_json_object"]


def read_json_object(path: str | os.PathLike[str], kind: str) -> dict[str, Any]:
    """The object in a JSON file in UTF-8, UTF-16 or UTF-32, with or without a byte-order mark.

    Args:
        path: the file.
        kind: what the file is, for messages.

    Raises:
        InputError: it is no regular file, cannot be read, or is no JSON; it holds no object, a key twice, or NaN or
            Infinity, which are no JSON.
    """
    if not os.path.lexists(path):
        raise InputError(f"{kind} {path} does not exist; give the path of a {kind} JSON file")
    with open_file(path) as file:
        text = file.read()
    try:
        content = json.loads(text, object_pairs_hook=_without_repetition, parse_constant=_refuse_constant)
    except RecursionError as error:
        raise InputError(f"{kind} {path} is nested too deeply; correct the file") from error
    except ValueError as error:
        raise InputError(f"{kind} {path} is not JSON ({error}); correct the file") from error
    if not isinstance(content, dict):
        raise InputError(f"{kind} {path} must be a JSON object, starting with {{; correct the file")
    return content


def _without_repetition(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content = dict(pairs)
    if len(content) < len(pairs):
        keys = [key for key, _ in pairs]
        raise ValueError(f"the key {next(key for key in keys if keys.count(key) > 1)!r} stands twice in one object")
    return content


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON value")
