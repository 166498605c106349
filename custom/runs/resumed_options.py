"""Whether a command that resumes a run asks for what the run was started with."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from custom.errors import InputError
from custom.wording import and_more, shown

__all__ = ["check_resumed_options"]

logger = logging.getLogger(__name__)

FREE = {
    "backend",
    "bundle_root",
    "check_data",
    "checkpoint_interval",
    "device",
    "mlflow",
    "num_workers",
    "output_dir",
    "resume",
    "run_name",
    "runs_dir",
    "tracker",
    "val_interval",
    "align#validation#interval",
    "validate#panels#every",
}
"""Options that a resumed run may change: where and how it computes, not what."""

LONGER = ("segmentation_epochs", "epochs")
"""Epochs of a run's last stage, which may grow."""

MOST_SHOWN = 4
LONGEST_SHOWN = 200  # two paths may differ at their ends alone


def check_resumed_options(stored: str | os.PathLike[str], asked: Mapping[str, Any]) -> None:
    """Refuse to resume a run with other options than its own.

    Compared are the options of the configurations as written: its expressions inside of nested definitions may change
    with the version. Relative and absolute paths of one file are equal. A schedule may become longer in its last stage.

    Args:
        stored: the configuration of the run, a JSON file; nothing is compared where there is none.
        asked: the configuration of this command.

    Raises:
        InputError: options differ; the message gives both values.
    """
    known = _read(Path(stored))
    if known is None:
        return
    ours, theirs = dict(_leaves(asked)), dict(_leaves(known))
    differing = [
        f"{key} {shown(value, LONGEST_SHOWN)}, now {shown(ours[key], LONGEST_SHOWN)}"
        for key, value in theirs.items()
        if key in ours and not _may_become(key, value, ours[key])
    ]
    if differing:
        listed = "; ".join(differing[:MOST_SHOWN]) + and_more(len(differing) - MOST_SHOWN)
        raise InputError(
            f"cannot resume {Path(stored).parent}: it was started with {listed}. "
            "Give the run's own options, or leave --resume out to start another run"
        )


def _read(file: Path) -> dict[str, Any] | None:
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, RecursionError):
        logger.warning("%s cannot be read: whether the options are the run's own is not known", file)
        return None
    return content if isinstance(content, dict) else None


def _leaves(values: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Plain options by path, as in MONAI: "train#trainer#max_epochs". Expressions count at the top only."""
    pairs = values.items() if isinstance(values, Mapping) else enumerate(values)
    for name, value in pairs:
        key = f"{path}#{name}" if path else str(name)
        if key in FREE or (not path and str(name).startswith("_")):
            continue
        if isinstance(value, (Mapping, list, tuple)):
            if path or not _is_code(value):
                yield from _leaves(value, key)
        elif not (path and isinstance(value, str) and value.startswith(("$", "@", "%"))):
            yield key, value


def _is_code(value: Any) -> bool:
    """Whether it is a list of expressions to be run, such as `initialize`."""
    return isinstance(value, (list, tuple)) and all(isinstance(each, str) and each.startswith("$") for each in value)


def _may_become(key: str, stored: Any, asked: Any) -> bool:
    stored, asked = _plain(stored), _plain(asked)
    if key in LONGER and all(isinstance(each, int) for each in (stored, asked)):
        return asked >= stored
    return stored == asked or (isinstance(stored, str) and isinstance(asked, str) and _same_file(stored, asked))


def _plain(value: Any) -> Any:
    """The value as JSON has it; "true" is true."""
    value = json.loads(json.dumps(value, default=str))
    return {"true": True, "false": False}.get(value.lower(), value) if isinstance(value, str) else value


def _same_file(one: str, other: str) -> bool:
    try:
        return os.path.samefile(os.path.expanduser(one), os.path.expanduser(other))
    except (OSError, ValueError):
        return False
