"""What a command line of `monai.bundle run` may say."""

from __future__ import annotations

import difflib
import inspect
import json
import re
import sys
from typing import Any

from monai.bundle import ConfigParser
from monai.bundle import run as bundle_run

from custom.errors import InputError

__all__ = ["check_command_line"]

MONAI_EXPRESSIONS = ("initialize", "run", "finalize")  # which `monai.bundle run` evaluates of itself


def check_command_line(arguments: list[str] | None = None) -> None:
    """Refuse overrides and overlay keys that nothing reads: MONAI accepts them in silence.

    A key is known if the first configuration file has it or if any configuration value refers to it.

    Args:
        arguments: the command line; None for this process's own, if it is one of `monai.bundle run`.

    Raises:
        InputError: an unknown key or run id, with the nearest known one.
    """
    if arguments is None:
        if not sys.argv or not sys.argv[0].replace("\\", "/").endswith("monai/bundle/__main__.py"):
            return
        arguments = sys.argv[1:]
    positional, options = _split(arguments)
    if "config_file" not in options or positional[:1] != ["run"]:
        return
    files = _as_list(options["config_file"])
    merged = ConfigParser(ConfigParser.load_config_files(files))
    base = ConfigParser(ConfigParser.load_config_files(files[:1]))
    referenced = set(re.findall(r"@([A-Za-z_]\w*)", json.dumps(merged.get())))
    own = set(inspect.signature(bundle_run).parameters) - {"override"}
    known = [key for key in base.get() if not key.startswith("_")]

    run_id = options.get("run_id") or (positional[1] if len(positional) > 1 else "run")
    if run_id not in merged:
        raise InputError(f"no run id {run_id!r} in {files[0]}{_nearest(run_id, known)}")
    for file in files[1:]:
        for key in ConfigParser.load_config_file(file):
            root = re.split(r"#|::", key.lstrip("+"))[0]
            is_known = root in base or root in referenced or root in MONAI_EXPRESSIONS or root.startswith("_")
            if not is_known:
                raise InputError(f"{file}: unknown key {root!r}{_nearest(root, known)}")
    for key in options:
        if key not in own and key not in merged:
            nested = [f"{parent}#{child}" for parent in known for child in _children(base[parent])]
            raise InputError(f"unknown option --{key}{_nearest(key, known + nested)}")


def _children(value: Any) -> list[str]:
    if not isinstance(value, dict):
        return []
    return [name for key, child in value.items() for name in (key, *(f"{key}#{inner}" for inner in _children(child)))]


def _nearest(key: str, known: list[str]) -> str:
    close = difflib.get_close_matches(key, known, n=1, cutoff=0.5)
    return f"; did you mean {close[0]!r}?" if close else "; see the configuration file for what can be set"


def _split(arguments: list[str]) -> tuple[list[str], dict[str, str]]:
    """Positional arguments and --key value (or --key=value) options, as Fire reads them."""
    positional, options = [], {}
    index = 0
    while index < len(arguments):
        token = arguments[index]
        index += 1
        if not token.startswith("--"):
            positional.append(token)
        elif "=" in token:
            key, options[key] = token[2:].split("=", 1)[0], token.split("=", 1)[1]
        elif index < len(arguments) and not arguments[index].startswith("--"):
            options[token[2:]] = arguments[index]
            index += 1
        else:
            options[token[2:]] = "True"
    return positional, options


def _as_list(value: str) -> list[str]:
    names = re.findall(r"[^\[\]'\",\s][^\[\]'\",]*", value)
    return [name.strip() for name in names]
