"""Methods that can be compared: what each sets for itself, and which of the settings shared by all it follows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from custom.errors import InputError

__all__ = ["BASE_METHOD", "SAME_FOR_ALL", "Method", "bundle_methods", "method_files", "read_method", "shared_settings"]

BASE_METHOD = "semigda"  # train.yaml as it is; every other method is an overlay on it
OVERLAYS = Path(__file__).parents[1] / "configs" / "methods"

# Schedule and size are the same for all, even where the overlay of a method sets them.
SAME_FOR_ALL = (
    "image_size",
    "segmentation_epochs",
    "segmentation_labelled_batch",
    "segmentation_unlabelled_batch",
    "val_interval",
)


@dataclass(frozen=True)
class Method:
    """A method on a bundle.

    Attributes:
        name: its name.
        own: what its overlay sets, key by key as it stands there; empty for SemiGDA, which is `train.yaml` itself.
        config: the bundle's `train.yaml` with the overlay.
    """

    name: str
    own: Mapping[str, Any] = field(default_factory=dict)
    config: Mapping[str, Any] = field(default_factory=dict)

    @property
    def is_aligned(self) -> bool:
        """Whether its training begins with the stage "alignment"."""
        return bool(self.config["session"]["stages"].get("alignment"))

    def sets(self, key: str) -> bool:
        """Whether the overlay sets this value, a part of it, or the part that it belongs to."""
        names = [name.removeprefix("+") for name in self.own]
        return any(key == name or key.startswith(f"{name}#") or name.startswith(f"{key}#") for name in names)

    def follows(self, key: str) -> bool:
        """Whether a shared setting reaches the method: its overlay leaves it open, and its part takes such a value."""
        return key in SAME_FOR_ALL or (not self.sets(key) and self._takes(key))

    def _takes(self, key: str) -> bool:
        """Whether the part that the value belongs to takes it; training refuses what its parts do not take."""
        from custom.options.parts import check_parts, value_at  # late, as in `read_method`

        part, _, name = key.rpartition("#")
        target = value_at(self.config, f"{part}#_target_")
        if isinstance(target, str) and target.startswith("@"):  # the class is named by another part
            target = value_at(self.config, f"{target[1:]}#_target_")
        if target is None:  # no value of a part
            return True
        try:
            check_parts({part: {"_target_": target, name: None}}, _locator())
        except InputError:
            return False
        return True


def bundle_methods() -> list[str]:
    """Names of the methods, which are the same for all bundles."""
    return [BASE_METHOD, *sorted(file.stem for file in OVERLAYS.glob("*.yaml"))]


def method_files(bundle: Path, name: str) -> list[Path]:
    """The configuration files of a method on a bundle, in order: `train.yaml`, and the overlay if there is one."""
    train = bundle / "configs" / "train.yaml"
    return [train] if name == BASE_METHOD else [train, OVERLAYS / f"{name}.yaml"]


def read_method(bundle: Path, name: str) -> Method:
    """A method on a bundle, see `bundle_methods`."""
    from monai.bundle import ConfigParser  # late: it brings torch, which help does not need

    files = [str(file) for file in method_files(bundle, name)]
    own = {} if len(files) == 1 else ConfigParser.load_config_file(files[-1])
    return Method(name, own, ConfigParser.load_config_files(files))


def shared_settings(settings: Mapping[str, Any], method: Method) -> dict[str, Any]:
    """The part of the protocol that a method follows."""
    return {key: value for key, value in settings.items() if method.follows(key)}


@cache
def _locator() -> Any:
    from monai.bundle import ComponentLocator

    return ComponentLocator()
