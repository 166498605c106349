"""The parts of a configuration, dictionaries with "_target_": which arguments they take, and of which type."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterator, Mapping
from pydoc import locate
from typing import Any

from monai.bundle import ComponentLocator

from custom.errors import InputError
from custom.options.keys import ARGUMENTS
from custom.options.kinds import YES_OR_NO
from custom.wording import did_you_mean, shown

__all__ = ["argument_kind", "arguments_at", "check_parts", "check_references", "is_set", "value_at"]

REFERENCE = r"@([A-Za-z_]\w*(?:#\w+)*)(\.[A-Za-z_])?"
"""How one value refers to another, and to an attribute of it."""


def value_at(config: Mapping[str, Any], key: str) -> Any:
    """The value of a nested key such as "train#trainer#amp"; None where there is none."""
    value: Any = config
    for name in key.replace("::", "#").split("#"):
        if isinstance(value, Mapping):
            value = value.get(name)
        elif isinstance(value, list) and name.isdecimal() and int(name) < len(value):
            value = value[int(name)]
        else:
            return None
    return value


def is_set(config: Mapping[str, Any], key: str) -> bool:
    """Whether there is a value with this key, be it None."""
    parent, _, name = key.replace("::", "#").rpartition("#")
    inside = value_at(config, parent) if parent else config
    if isinstance(inside, list):
        return name.isdecimal() and int(name) < len(inside)
    return isinstance(inside, Mapping) and name in inside


def check_references(config: Mapping[str, Any]) -> None:
    """Refuse references such as "@train#dataset" to what is not there, and attributes of what is null.

    Raises:
        InputError: the message names the value that refers to it.
    """
    for key, text in _texts(config):
        if not text.startswith(("$", "@")) or key.endswith("_target_"):  # the latter is for `check_parts`
            continue
        text = text.replace("::", "#")
        for name, dot in re.findall(REFERENCE, text):
            if not is_set(config, name):
                raise InputError(f"{key} {shown(text)}: there is no {name} in the configuration; correct the name")
            if dot and value_at(config, name) is None:
                raise InputError(f"{name} is null, but {key} {shown(text)} needs it; leave {name} as it was")


def check_parts(config: Mapping[str, Any], locator: ComponentLocator) -> None:
    """Refuse arguments that a part does not take: MONAI would end with a traceback when it builds the part.

    Raises:
        InputError: an unknown class, or an unknown argument; the message names the nearest one.
    """
    for key, part in _parts(config):
        called = _class_of(config, key, part, locator)
        takes = _arguments(called)
        for name in part if takes is not None else ():
            if not name.startswith("_") and name not in takes:
                raise InputError(f"{key}#{name}: {called.__name__} takes no such value{did_you_mean(name, takes)}")


def arguments_at(config: Mapping[str, Any], key: str, locator: ComponentLocator) -> dict[str, Any]:
    """Arguments, with their defaults, that the part with this key takes; empty if it is no part or takes any.

    Args:
        config: the configuration.
        key: such as "train#trainer".
        locator: finds MONAI's classes by their bare names.
    """
    part = value_at(config, key)
    if not isinstance(part, Mapping) or not isinstance(part.get("_target_"), str):
        return {}
    return _arguments(_class_of(config, key, part, locator)) or {}


def argument_kind(config: Mapping[str, Any], key: str, locator: ComponentLocator) -> Any:
    """The kind of a part's value that no key lists: by its name, or true or false; None if it is no such value.

    Args:
        config: the configuration.
        key: such as "augmentation#rotate#prob".
        locator: finds MONAI's classes by their bare names.
    """
    parent, _, name = key.replace("::", "#").rpartition("#")
    arguments = arguments_at(config, parent, locator)
    return YES_OR_NO if isinstance(arguments.get(name), bool) else ARGUMENTS.get(name) if name in arguments else None


def _parts(value: Any, key: str = "") -> Iterator[tuple[str, Mapping[str, Any]]]:
    """All parts with their keys, outer ones first."""
    if isinstance(value, Mapping):
        if "_target_" in value:
            yield key, value
        pairs: Any = value.items()
    else:
        pairs = enumerate(value) if isinstance(value, list) else ()
    for name, inner in pairs:
        yield from _parts(inner, f"{key}#{name}" if key else str(name))


def _texts(value: Any, key: str = "") -> Iterator[tuple[str, str]]:
    """All texts with their keys."""
    if isinstance(value, str):
        yield key, value
    pairs: Any = value.items() if isinstance(value, Mapping) else enumerate(value) if isinstance(value, list) else ()
    for name, inner in pairs:
        yield from _texts(inner, f"{key}#{name}" if key else str(name))


def _class_of(
    config: Mapping[str, Any], key: str, part: Mapping[str, Any], locator: ComponentLocator
) -> Callable[..., Any]:
    target = part["_target_"]
    if not isinstance(target, str):
        raise InputError(f"{key}#_target_ {shown(target)}: give the name of a class or function")
    if target.startswith("@"):  # another part, with `_mode_: callable`
        target = target.replace("::", "#")
        other = value_at(config, target[1:])
        if not isinstance(other, Mapping) or not isinstance(other.get("_target_"), str):
            raise InputError(f"{key}#_target_ {shown(target)}: there is no such part; correct the name")
        key, target = target[1:], other["_target_"]
    path = target if "." in target else locator.get_component_module_name(target)
    path = path[0] if isinstance(path, list) else path
    found = locate(path if path is None or "." in target else f"{path}.{target}") if path else None
    if not callable(found):
        raise InputError(f"{key}#_target_ {shown(target)}: there is no such class or function; correct the name")
    return found


def _arguments(called: Callable[..., Any]) -> dict[str, Any] | None:
    """Arguments with their defaults; None if it takes any.

    `**kwargs` of a class are arguments of its `arguments_of`, another class, or else of its base classes.
    """
    functions = [called]
    if hasattr(called, "arguments_of"):
        functions = [called.__init__, called.arguments_of.__init__]
    elif inspect.isclass(called):
        functions = [each.__dict__["__init__"] for each in inspect.getmro(called) if "__init__" in each.__dict__]
    arguments: dict[str, Any] = {}
    for function in functions:
        try:
            parameters = inspect.signature(function).parameters.values()
        except (TypeError, ValueError):
            return None
        named = [each for each in parameters if each.kind in (each.POSITIONAL_OR_KEYWORD, each.KEYWORD_ONLY)]
        arguments = {each.name: each.default for each in named} | arguments
        if not any(each.kind == each.VAR_KEYWORD for each in parameters):
            return arguments
    return None
