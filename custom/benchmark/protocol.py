"""The settings that all runs of a benchmark share: read from a file, checked, and kept in the output folder."""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from custom.benchmark.methods import read_method
from custom.benchmark.plan import Plan
from custom.command_line import is_evaluated
from custom.errors import InputError, short_reason
from custom.files import write_whole
from custom.json_files import read_json_object
from custom.wording import did_you_mean

__all__ = [
    "DEFAULT_PROTOCOL",
    "RESERVED",
    "check_protocol",
    "keep_protocol",
    "known_settings",
    "read_base",
    "read_protocol",
    "refuse_evaluated",
]

DEFAULT_PROTOCOL = Path(__file__).with_name("protocol.json")

# What no result depends on may change between two commands in one output folder.
WITHOUT_INFLUENCE = ("mlflow", "num_workers", "checkpoint_interval", "validate#panels#every")
# What the datalist states about its images. It may be given on the command line, but not in a file for all data sets.
ABOUT_THE_DATA = ("train#trainer#one_connected_component",)
# What the benchmark or the data determine for each run, with what to do instead.
RESERVED = {
    "bundle_root": "use --bundle",
    "dataset_dir": "use --dataset-dir",
    "datalist": "use --datalist",
    "data": "use --datalist",
    "facts": "use --datalist",
    "found": "use --datalist",
    "labelled": "use --labels",
    "seed": "use --seeds",
    "method": "use --methods",
    "runs_dir": "use --output",
    "output_dir": "use --output",
    "run_name": "use --output",
    "tracker": "use --experiment",
    "resume": "leave it out, a benchmark continues by itself",
    "check_data": "leave it out, the data are checked once, before the runs",
    "use_unlabelled": "leave it out, the method decides",
    "initial_weights": "leave it out, no method starts from other weights",
    "num_classes": "use num_classes in the datalist",
    "load#num_classes": "use num_classes in the datalist",
    "network_def#num_classes": "use num_classes in the datalist",
}


def read_protocol(path: str | Path) -> dict[str, Any]:
    """The settings of a protocol file.

    Raises:
        InputError: the file is missing or no JSON object, or a value would be evaluated in a configuration.
    """
    content = read_json_object(path, "--protocol")
    for key, value in content.items():
        refuse_evaluated(f"--protocol {path}: {key}", key, value)
    return content


def read_base(bundle: Path) -> dict[str, Any]:
    """A bundle's `train.yaml`, whose keys are the settings there are.

    Raises:
        InputError: the file is missing or no configuration.
    """
    import yaml
    from monai.bundle import ConfigParser  # late: it brings torch, which help does not need

    what = f"--bundle {bundle} is no bundle: configs/train.yaml"
    try:
        content = ConfigParser.load_config_file(bundle / "configs" / "train.yaml")
    except OSError as error:
        raise InputError(f"{what} cannot be read ({error.strerror}); give a folder of bundles/") from error
    except (ValueError, yaml.YAMLError) as error:
        raise InputError(f"{what} is no YAML ({short_reason(error)}); correct the file") from error
    if not isinstance(content, dict):
        raise InputError(f"{what} must hold keys with values; correct the file")
    return content


def known_settings(base: Mapping[str, Any]) -> list[str]:
    """The keys that a protocol may set: values of `train.yaml`, and values of its parts.

    Args:
        base: `train.yaml`; empty if there is none yet, which gives no keys.
    """
    if not base:
        return []
    from custom.options import COMMANDS

    plain = [key for key, value in base.items() if not key.startswith("_") and not isinstance(value, dict | list)]
    return list(dict.fromkeys([*plain, *(key for key in COMMANDS["train"] if key.split("#")[0] in base)]))


def check_protocol(settings: Mapping[str, Any], plan: Plan, overrides: Collection[str] = ()) -> None:
    """Refuse settings that no run would follow.

    Args:
        settings: the protocol.
        plan: the benchmark.
        overrides: those of its keys that were given on the command line.

    Raises:
        InputError: a key that train.yaml does not have, a value of the wrong type or range or one that would be
            evaluated, a key that the benchmark or the datalist sets, one of the command line that no compared
            method follows, or one about the data that is not from the command line.
    """
    file = plan.bundle / "configs" / "train.yaml"
    base = read_base(plan.bundle)
    methods = [read_method(plan.bundle, name) for name in plan.methods]
    for key, value in settings.items():
        if instead := RESERVED.get(key) or RESERVED.get(key.split("#")[0]):
            raise InputError(f"{key} cannot be set in a benchmark: {instead}")
        _check_value(key, value, base, file, overrides)
        if key in ABOUT_THE_DATA and key not in overrides:
            raise InputError(
                f"{key} is about the data, so the datalist states it: take it out of the protocol, or give --{key} if "
                "you want another value for all runs"
            )
        if key in overrides and not any(method.follows(key) for method in methods):
            raise InputError(
                f"--{key} would change nothing: {', '.join(plan.methods)} set it themselves, in "
                "custom/configs/methods, or have no such value; leave it out"
            )


def keep_protocol(settings: Mapping[str, Any], output: Path) -> None:
    """Write `protocol.json` into the output folder, or make sure that the one there holds the same settings.

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
                    f"{key} is {new!r} but was {old!r} when {output} was started ({file}): give the same settings as "
                    "then, or another --output"
                )
    write_whole(file, json.dumps(settings, indent=4).encode())


def refuse_evaluated(what: str, key: str, value: Any) -> None:
    """Nothing from a command line or a protocol is evaluated or exchanges a part of a configuration.

    Raises:
        InputError: `what` begins the message.
    """
    if is_evaluated(value) or any(part.startswith("_") for part in key.split("#")):
        raise InputError(f"{what} would be evaluated in a configuration; give a plain number, text or list")


def _check_value(key: str, value: Any, base: Mapping[str, Any], file: Path, overrides: Collection[str]) -> None:
    """Refuse an unknown key, and a value of the wrong type or range; of a key without a range, of another type."""
    from custom.options import COMMANDS, check_values
    from custom.options.parts import value_at

    default = value_at(base, key)
    if key in COMMANDS["train"] and key.split("#")[0] in base:
        check_values("train", {key: value}, overrides)
    elif default is None:
        hint = did_you_mean(key, known_settings(base)) or "; see there for what there is"
        raise InputError(f"unknown setting {key!r}: {file} has no such key{hint}")
    elif isinstance(default, Mapping):
        raise InputError(f"{key} is a part of train.yaml, not a setting; name a key in it")
    elif not isinstance(default, list) and not is_evaluated(default):
        _check_type(key, value, default)


def _check_type(key: str, value: Any, default: Any) -> None:
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
    fits = {bool: isinstance(value, bool), str: isinstance(value, str) and value.strip() != ""}
    words = {bool: "true or false", str: "a text"}
    if not fits.get(type(default), is_number):
        raise InputError(f"{key} is {value!r}; give {words.get(type(default), 'a number')}, such as {default!r}")
