"""The settings that all runs of a benchmark share: one overlay, read from a file, changed on the command line, kept."""

from __future__ import annotations

import ast
import difflib
import json
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from monai.bundle import ConfigParser

from custom.benchmark.plan import BASE_METHOD, Plan
from custom.errors import InputError
from custom.files import write_whole

__all__ = [
    "DEFAULT_PROTOCOL",
    "check_protocol",
    "keep_protocol",
    "method_settings",
    "parse_overrides",
    "read_protocol",
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
# The benchmark itself says these, run by run.
RESERVED = {
    "dataset_dir": "--dataset_dir",
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
        InputError: the file is missing or no JSON object.
    """
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"--protocol {path} cannot be read ({error.strerror}); give a JSON file") from error
    except ValueError as error:
        raise InputError(f"--protocol {path} is not JSON ({error}); correct the file") from error
    if not isinstance(content, dict):
        raise InputError(f'--protocol {path} must be a JSON object such as {{"image_size": 64}}')
    return content


def parse_overrides(arguments: Sequence[str]) -> dict[str, Any]:
    """Settings from `--key value` or `--key=value`; numbers, lists, true, false and null become values.

    Raises:
        InputError: something that is no such pair.
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
        if key in overrides:
            raise InputError(f"--{key} is given twice; leave one out")
        overrides[key] = _as_value(text)
    return overrides


def check_protocol(settings: Mapping[str, Any], plan: Plan, overrides: Collection[str] = ()) -> None:
    """Refuse settings that no run would follow.

    Args:
        settings: the protocol.
        plan: the benchmark.
        overrides: those of its keys that were asked for by hand.

    Raises:
        InputError: a key that train.json does not have, one that the benchmark sets, or one that all compared methods
            set themselves.
    """
    file = plan.bundle / "configs" / "train.json"
    base = ConfigParser(ConfigParser.load_config_file(str(file)))
    known = [key for key in base.get() if not key.startswith("_")]
    for key in settings:
        root = key.split("#")[0]
        if root in RESERVED:
            raise InputError(f"{key} cannot be set in a benchmark: use {RESERVED[root]}")
        if key not in base:
            close = difflib.get_close_matches(key, known, n=1, cutoff=0.5)
            hint = f"did you mean {close[0]!r}?" if close else "see there for what can be set"
            raise InputError(f"unknown setting {key!r}: {file} has no such key; {hint}")
        owners = [method for method in plan.methods if _is_own(key, method_settings(plan.bundle, method))]
        if key in overrides and key not in SAME_FOR_ALL and len(owners) == len(plan.methods):
            raise InputError(
                f"--{key} would change nothing: {', '.join(owners)} set it themselves, in {file.parent}/methods"
            )


def method_settings(bundle: Path, method: str) -> dict[str, Any]:
    """What a method's overlay says; empty for SemiGDA, which is train.json itself."""
    if method == BASE_METHOD:
        return {}
    return ConfigParser.load_config_file(str(bundle / "configs" / "methods" / f"{method}.json"))


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


def _as_value(text: str) -> Any:
    words = {"true": True, "false": False, "null": None}
    if text.lower() in words:
        return words[text.lower()]
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text
