"""The settings that all runs of a benchmark share: one overlay, read from a file, changed on the command line, kept."""

from __future__ import annotations

import ast
import json
import math
import os
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from custom.benchmark.plan import BASE_METHOD, Plan
from custom.command_line import is_evaluated, unprintable
from custom.errors import InputError, short_reason
from custom.files import write_whole
from custom.wording import did_you_mean

__all__ = [
    "DEFAULT_PROTOCOL",
    "check_protocol",
    "keep_protocol",
    "method_settings",
    "parse_overrides",
    "read_base",
    "read_protocol",
    "refuse_mistyped",
    "shared_settings",
]

DEFAULT_PROTOCOL = Path(__file__).with_name("protocol.json")

# Schedule and size are the same for all, even where a method's overlay says otherwise.
SAME_FOR_ALL = (
    "image_size",
    "segmentation_epochs",
    "segmentation_labelled_batch",
    "segmentation_unlabelled_batch",
    "val_interval",
)
# What no result depends on may change between two commands in one output folder.
WITHOUT_INFLUENCE = ("mlflow", "num_workers", "checkpoint_interval", "panel_interval")
# What the bundle or the datalist says about its images: no file of settings speaks for all data sets.
ABOUT_THE_DATA = ("largest_component", "num_classes")
# The benchmark itself says these, run by run.
RESERVED = {
    "dataset_dir": "--dataset-dir",
    "datalist": "--datalist",
    "labelled": "--labels",
    "seed": "--seeds",
    "method": "--methods",
    "runs_dir": "--output",
    "output_dir": "--output",
    "run_name": "--output",
    "mlflow_experiment": "--experiment",
    "tracker": "--experiment",
    "resume": "nothing: a benchmark goes on by itself",
    "check_data": "nothing: a benchmark checks the data once, before the runs",
    "use_unlabelled": "nothing: the method decides",
    "initial_weights": "nothing: all methods start from scratch",
}


def read_protocol(path: str | Path) -> dict[str, Any]:
    """The settings of a protocol file.

    Raises:
        InputError: the file is missing or no JSON object, or a value would be evaluated in a configuration.
    """
    content = _read_object(Path(path), f"--protocol {path}")
    for key, value in content.items():
        _refuse_evaluated(f"--protocol {path}: {key}", key, value)
    return content


def read_base(bundle: Path) -> dict[str, Any]:
    """A bundle's `train.json`, whose keys are the settings there are.

    Raises:
        InputError: the file is missing or no JSON object.
    """
    return _read_object(bundle / "configs" / "train.json", f"--bundle {bundle} is no bundle: configs/train.json")


def parse_overrides(arguments: Sequence[str], base: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Settings from `--key value` or `--key=value`; numbers, lists, true, false and null become values.

    Args:
        arguments: the words of the command line.
        base: `train.json`; what is a text there stays a text, even if it looks like a number.

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
        key = key.replace("-", "_")
        overrides[key] = _as_value(key, text, stays_text=_is_text(_value_at(base or {}, key)))
    return overrides


def refuse_mistyped(overrides: Collection[str], base: Mapping[str, Any], options: Sequence[str]) -> None:
    """Refuse a key that is near an option of the command and no setting.

    Args:
        overrides: the keys that are no option of the command.
        base: `train.json`, empty if there is no bundle yet.
        options: names of the command's options.

    Raises:
        InputError: it names the nearest option or setting.
    """
    known = [key for key in base if not key.startswith("_")]
    for key in overrides:
        if key.split("#")[0] not in (*known, *RESERVED):
            hint = did_you_mean(key, [*options, *known])
            if hint or known:
                raise InputError(f"unknown option --{key}{hint or '; see --help, and the keys of train.json'}")


def check_protocol(settings: Mapping[str, Any], plan: Plan, overrides: Collection[str] = ()) -> None:
    """Refuse settings that no run would follow.

    Args:
        settings: the protocol.
        plan: the benchmark.
        overrides: those of its keys that were asked for by hand.

    Raises:
        InputError: a key that train.json does not have, a value of another type than there or one that would be
            evaluated, a key that the benchmark sets, one that all compared methods set themselves, or one about the
            data that was not asked for by hand.
    """
    file = plan.bundle / "configs" / "train.json"
    base = read_base(plan.bundle)
    for key, value in settings.items():
        root = key.split("#")[0]
        if root in RESERVED:
            raise InputError(f"{key} cannot be set in a benchmark: use {RESERVED[root]}")
        default = _value_at(base, key)
        if default is _MISSING:
            hint = did_you_mean(key, [name for name in base if not name.startswith("_")])
            raise InputError(
                f"unknown setting {key!r}: {file} has no such key{hint or '; see there for what there is'}"
            )
        _check_value(key, value, default, overrides)
        if key in ABOUT_THE_DATA and key not in overrides:
            raise InputError(
                f"{key} is about the data, so {file} and the datalist say it: take it out of the protocol, or give "
                f"--{key} if you want another value for all runs"
            )
        owners = [method for method in plan.methods if _is_own(key, method_settings(plan.bundle, method))]
        if key in overrides and key not in SAME_FOR_ALL and len(owners) == len(plan.methods):
            raise InputError(
                f"--{key} would change nothing: {', '.join(owners)} set it themselves, in {file.parent}/methods"
            )


def method_settings(bundle: Path, method: str) -> dict[str, Any]:
    """What a method's overlay says; empty for SemiGDA, which is train.json itself."""
    if method == BASE_METHOD:
        return {}
    file = bundle / "configs" / "methods" / f"{method}.json"
    return _read_object(file, f"{file}")


def shared_settings(settings: Mapping[str, Any], own: Mapping[str, Any]) -> dict[str, Any]:
    """The part of the protocol that a method follows: what its overlay sets stays its own, except `SAME_FOR_ALL`.

    Args:
        settings: the protocol.
        own: see `method_settings`.
    """
    return {key: value for key, value in settings.items() if key in SAME_FOR_ALL or not _is_own(key, own)}


def keep_protocol(settings: Mapping[str, Any], output: Path) -> None:
    """Write `protocol.json` into the output folder, or make sure that the one there says the same.

    Raises:
        InputError: a run there was made with another protocol; the message names the first key that differs.
    """
    file = output / "protocol.json"
    if file.is_file():
        before = read_protocol(file)
        for key in sorted({*before, *settings} - set(WITHOUT_INFLUENCE)):
            old, new = before.get(key, "not set"), settings.get(key, "not set")
            if old != new:
                raise InputError(
                    f"{key} is {new!r} but was {old!r} when {output} was begun ({file}): give the same settings as "
                    "then, or another --output"
                )
    write_whole(file, json.dumps(settings, indent=4).encode())


def _is_own(key: str, own: Mapping[str, Any]) -> bool:
    return any(key == name or key.startswith(f"{name}#") or name.startswith(f"{key}#") for name in own)


_MISSING = object()


def _read_object(path: Path, what: str) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{what} cannot be read ({error.strerror}); give a JSON file") from error
    except (ValueError, RecursionError) as error:
        reason = short_reason(error)
        raise InputError(f"{what} is not JSON ({reason}); correct the file") from error
    if not isinstance(content, dict):
        raise InputError(f'{what} must be a JSON object such as {{"image_size": 64}}')
    return content


def _value_at(content: Any, key: str) -> Any:
    """What stands at `train#trainer#amp`, or `_MISSING`."""
    for part in key.split("#"):
        if isinstance(content, Mapping):
            content = content.get(part, _MISSING)
        elif isinstance(content, list) and part.isdecimal() and int(part) < len(content):
            content = content[int(part)]
        else:
            return _MISSING
    return content


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and not is_evaluated(value)


def _check_value(key: str, value: Any, default: Any, overrides: Collection[str]) -> None:
    """Refuse a value of the wrong type or range; of a key inside a component, of another type than in `train.json`."""
    from custom.options import TrainingOptions, check_values  # late: it brings torch, which help does not need

    if key in TrainingOptions.__annotations__:
        check_values(TrainingOptions, {key: value}, overrides)
        return
    if isinstance(default, Mapping):
        raise InputError(f"{key} is a part of train.json, not a setting; name a key in it")
    if default is None or isinstance(default, list) or is_evaluated(default):
        return
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
    fits = {bool: isinstance(value, bool), str: isinstance(value, str) and value.strip() != ""}
    words = {bool: "true or false", str: "a text"}
    if not fits.get(type(default), is_number):
        raise InputError(f"{key} is {value!r}; give {words.get(type(default), 'a number')}, such as {default!r}")


def _refuse_evaluated(what: str, key: str, value: Any) -> None:
    """Nothing from a command line or a protocol is evaluated or exchanges a part of a configuration."""
    if is_evaluated(value) or any(part.startswith("_") for part in key.split("#")):
        raise InputError(f"{what} would be evaluated in a configuration; give a plain number, text or list")


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
    _refuse_evaluated(f"--{key} {text!r}", key, value)
    try:
        return json.loads(json.dumps(value, allow_nan=False))  # tuples become lists
    except (TypeError, ValueError, RecursionError):
        raise InputError(f"--{key} {text!r} is no number, text or list; give one") from None
