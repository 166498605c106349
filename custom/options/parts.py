"""The parts of a configuration, dictionaries with "_target_": which arguments they take, and of which type."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from pydoc import locate
from typing import Any

from monai.bundle import ComponentLocator

from custom.errors import InputError
from custom.options.kinds import TEXT, YES_OR_NO, list_of, number, whole
from custom.wording import did_you_mean, shown

__all__ = ["check_parts", "default_kind", "value_at"]

LARGEST = 10**9


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


def default_kind(config: Mapping[str, Any], key: str, locator: ComponentLocator) -> Any:
    """The kind of a part's value, that of the default of its argument; None if it is no such value or has no default.

    Args:
        config: the configuration.
        key: such as "train#method#mixing_start".
        locator: finds MONAI's classes by their bare names.
    """
    parent, _, name = key.replace("::", "#").rpartition("#")
    part = value_at(config, parent) if parent else None
    if not isinstance(part, Mapping) or not isinstance(part.get("_target_"), str) or name.startswith("_"):
        return None
    default = (_arguments(_class_of(config, parent, part, locator)) or {}).get(name)
    return _kind_of(default)


def _kind_of(default: Any) -> Any:
    if isinstance(default, (list, tuple)) and default:
        inner = _kind_of(default[0])
        return None if inner is None else list_of(inner, len(default), len(default))
    kinds = {bool: YES_OR_NO, int: whole(-LARGEST, LARGEST), float: number(-LARGEST, LARGEST), str: TEXT}
    return kinds.get(type(default))


def _parts(value: Any, key: str = "") -> Iterator[tuple[str, Mapping[str, Any]]]:
    """All parts with their keys, outer ones first."""
    if isinstance(value, Mapping):
        if isinstance(value.get("_target_"), str):
            yield key, value
        pairs: Any = value.items()
    else:
        pairs = enumerate(value) if isinstance(value, list) else ()
    for name, inner in pairs:
        yield from _parts(inner, f"{key}#{name}" if key else str(name))


def _class_of(
    config: Mapping[str, Any], key: str, part: Mapping[str, Any], locator: ComponentLocator
) -> Callable[..., Any]:
    target = part["_target_"]
    if target.startswith("@"):  # another part, with `_mode_: callable`
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
