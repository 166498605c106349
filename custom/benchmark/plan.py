"""What a benchmark compares: methods, label counts and seeds on one bundle, checked before anything starts."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from custom.benchmark.methods import bundle_methods
from custom.command_line import is_evaluated
from custom.data import load_datalist, read_datalist
from custom.errors import InputError
from custom.wording import did_you_mean

__all__ = ["Plan", "Run", "make_plan", "split_list"]

LARGEST_SEED = 2**32 - 2  # NumPy takes 32 bits, and one more than the seed is used too


@dataclass(frozen=True)
class Run:
    """One training: a method with a labelled subset and a seed."""

    method: str
    labels: str
    seed: int

    @property
    def name(self) -> str:
        """Name of the run and of its folder."""
        subset = re.sub(r"[^\w.]+", "_", self.labels.replace("%", "percent"))
        return f"{self.method}_{subset}_seed{self.seed}"

    @property
    def title(self) -> str:
        """The run in words."""
        return f"{self.method}, {self.labels} labelled, seed {self.seed}"


@dataclass(frozen=True)
class Plan:
    """Everything that is to be compared.

    Attributes:
        bundle: folder of the bundle.
        dataset_dir: folder from which the paths in the datalist start.
        datalist: the datalist file.
        methods: names of the methods, see `bundle_methods`.
        labels: names of labelled subsets of the datalist.
        seeds: seeds of the trainings.
    """

    bundle: Path
    dataset_dir: Path
    datalist: Path
    methods: tuple[str, ...]
    labels: tuple[str, ...]
    seeds: tuple[int, ...]

    @property
    def runs(self) -> list[Run]:
        """All trainings: the first seed of every method before the second of any, so a stopped benchmark compares."""
        return [Run(method, labels, seed) for labels in self.labels for seed in self.seeds for method in self.methods]


def make_plan(
    bundle: str | Path,
    dataset_dir: str | Path,
    methods: Sequence[str],
    labels: Sequence[str],
    seeds: Sequence[str],
    datalist: str | Path | None = None,
) -> Plan:
    """Check the options and return them as a plan.

    Args:
        bundle: folder of a bundle.
        dataset_dir: folder of the data.
        methods: names of methods.
        labels: names of the datalist's labelled subsets; "10" stands for "10%", "all" for every label there is.
        seeds: whole numbers.
        datalist: the datalist; None for `datalist.json` in `dataset_dir`.

    Raises:
        InputError: anything that does not exist, or is named twice, or a datalist without labelled test images.
    """
    bundle, dataset_dir = Path(bundle).absolute(), Path(dataset_dir).absolute()
    for name in ("train.yaml", "evaluate.yaml"):
        if not (bundle / "configs" / name).is_file():
            raise InputError(f"--bundle {bundle} is no bundle: configs/{name} is missing")
    _refuse_unknown("--methods", methods, bundle_methods())
    datalist = Path(datalist).absolute() if datalist else dataset_dir / "datalist.json"
    load_datalist(datalist, dataset_dir, use_unlabelled=False)  # reports what is wrong with the file
    content = read_datalist(datalist)
    if not content.get("test") or not all(isinstance(item, dict) and item.get("label") for item in content["test"]):
        raise InputError(f'{datalist}: methods are compared on "test"; list images there, each with a "label"')
    known = [*content.get("labelled_subsets", {}), "all"]
    subsets = [f"{name}%" if name not in known and f"{name}%" in known else name for name in labels]
    _refuse_unknown("--labels", subsets, known)
    numbers = [_as_seed(seed) for seed in seeds]
    for option, values in (("--methods", methods), ("--labels", subsets), ("--seeds", numbers)):
        if not values:
            raise InputError(f"{option} is empty; name at least one")
        if twice := [value for value in values if list(values).count(value) > 1]:
            raise InputError(f"{option} names {twice[0]} twice; leave one out")
    _check_names(subsets, datalist)
    return Plan(bundle, dataset_dir, datalist, tuple(methods), tuple(subsets), tuple(numbers))


def split_list(text: str) -> list[str]:
    """The items of "a, b,c"."""
    return [item.strip() for item in text.split(",") if item.strip()]


def _refuse_unknown(option: str, names: Sequence[str], known: Sequence[str]) -> None:
    for name in names:
        if name not in known:
            raise InputError(f"{option}: {name!r} is not one of {', '.join(known)}{did_you_mean(name, known)}")


def _check_names(subsets: Sequence[str], datalist: Path) -> None:
    """The names go into configurations and become folders."""
    folders: dict[str, str] = {}
    for name in subsets:
        if is_evaluated(name):
            raise InputError(f"{datalist}: the labelled subset {name!r} would be evaluated; give it a plain name")
        other = folders.setdefault(Run("", name, 0).name, name)
        if other != name:
            raise InputError(f"{datalist}: {other!r} and {name!r} would share a folder; rename one, or leave one out")


def _as_seed(text: Any) -> int:
    if not re.fullmatch(r"[0-9]{1,10}", str(text)) or int(text) > LARGEST_SEED:
        raise InputError(f"--seeds: {text!r} is no whole number from 0 to {LARGEST_SEED}; give for example 0,1,2")
    return int(text)
