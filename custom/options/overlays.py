"""Which files of `custom/configs` go together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from fire.parser import DefaultParseValue

from custom.errors import InputError
from custom.wording import shown

__all__ = ["check_overlay_names", "check_overlays", "files_of", "order_advice"]

OVERLAYS = Path(__file__).parents[1] / "configs"
KINDS = {"methods": "a method", "presets": "a preset", "networks": "a network"}
OF_ONE_U_NET = ("distilled.yaml", "fixmatch.yaml", "supervised.yaml")
"""Methods whose U-Net a file of `networks` may replace: they train it alone."""


def files_of(config_file: Any) -> list[Path]:
    """The files that `--config_file` names, as MONAI reads it: one, several with commas, or a list.

    >>> [path.name for path in files_of("['a/train.yaml','b.yaml']")]
    ['train.yaml', 'b.yaml']
    """
    value = DefaultParseValue(config_file) if isinstance(config_file, str) else config_file
    if isinstance(value, str) and not Path(value).is_file():
        value = value.split(",")
    names = value if isinstance(value, (list, tuple)) else [value]
    return [Path(name) for name in names if isinstance(name, str)]


def check_overlays(files: Sequence[Path]) -> None:
    """Refuse files of which the last would be trained under a mixture of all.

    Raises:
        InputError: a file is given twice, there are two methods, presets or networks, an ablation of another method, or
            a network that the method does not train, or that stands before it.
    """
    for index, file in enumerate(files):
        if file in files[:index]:
            raise InputError(f"--config_file names {shown(str(file), 200)} twice; give it once")
    for kind, words in KINDS.items():
        names = _names(files, kind)
        if len(names) > 1:
            raise InputError(f"--config_file: {names[0]} and {names[1]} are each {words}; give one of them")
    others = [name for name in _names(files, "methods") if not name.startswith("semigda")]
    for name in _names(files, "ablations") if others else ():
        raise InputError(f"--config_file: {name} is for SemiGDA, not for {others[0]}; leave one of them out")
    for name in _names(files, "networks"):
        *_, last = [file.name for file in files if file.name in OF_ONE_U_NET or file.name == name]
        if not set(_names(files, "methods")) & set(OF_ONE_U_NET) or last != name:
            raise InputError(f"--config_file: {name} goes after one of the methods {', '.join(OF_ONE_U_NET)}")


def _names(files: Sequence[Path], kind: str) -> list[str]:
    """Names of the files in one folder of `custom/configs`."""
    return [file.name for file in files if file.parent.parts[-2:] == ("configs", kind)]


def order_advice(files: Sequence[Path]) -> str:
    """The end of a message about a value that a part does not take: the file of a method replaces parts of others."""
    methods = [file.name for file in files[:-1] if file.parent.name == "methods"]
    return f"; if it is of another file, put {methods[0]} last in --config_file" if methods else ""


def check_overlay_names(given: Mapping[str, Any]) -> None:
    """Refuse the name of an overlay as an option, which would train something else under this name.

    Raises:
        InputError: `--method` or `--preset` is such a name.
    """
    for key in ("method", "preset"):
        overlay = OVERLAYS / f"{key}s" / f"{given.get(key)}.yaml"
        if key in given and overlay.is_file():
            raise InputError(
                f"--{key} {given[key]}: leave it out and add custom/configs/{key}s/{overlay.name} to --config_file, "
                "which sets all that belongs to it"
            )
