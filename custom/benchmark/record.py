"""The record of a benchmark in its output folder, with which it can be extended and reported on later."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from custom.benchmark.plan import Plan
from custom.checks import check_dataset
from custom.data import data_fingerprint, load_datalist, read_datalist, read_facts
from custom.errors import InputError
from custom.files import write_whole

__all__ = ["Record", "describe_data", "describe_hardware", "merge_plan", "read_record", "write_record"]


@dataclass
class Record:
    """Content of `benchmark.json`.

    Attributes:
        bundle: folder of the bundle.
        dataset_dir: folder of the data.
        datalist: the datalist file.
        methods: all methods so far.
        labels: all labelled subsets.
        seeds: all seeds.
        data: what `describe_data` returns.
        hardware: machines it ran on.
    """

    bundle: str
    dataset_dir: str
    datalist: str
    methods: list[str]
    labels: list[str]
    seeds: list[int]
    data: dict[str, Any]
    hardware: list[str]

    @property
    def plan(self) -> Plan:
        """The benchmark as a whole."""
        return Plan(
            Path(self.bundle),
            Path(self.dataset_dir),
            Path(self.datalist),
            tuple(self.methods),
            tuple(self.labels),
            tuple(self.seeds),
        )


def read_record(output: Path) -> Record | None:
    """The record of an output folder; None if it has none.

    Raises:
        InputError: the file is damaged.
    """
    file = output / "benchmark.json"
    if not file.is_file():
        return None
    try:
        return Record(**json.loads(file.read_text(encoding="utf-8")))
    except (ValueError, TypeError) as error:
        raise InputError(f"{file} cannot be read ({error}); restore it or give another --output") from error


def write_record(record: Record, output: Path) -> None:
    """Write `benchmark.json`."""
    write_whole(output / "benchmark.json", json.dumps(asdict(record), indent=1).encode())


def merge_plan(before: Record | None, plan: Plan, data: dict[str, Any], hardware: list[str], output: Path) -> Record:
    """The record with the methods, labels and seeds of a plan added.

    Args:
        before: the record of the output folder, if it has one.
        plan: the methods, labels and seeds of this call.
        data: see `describe_data`.
        hardware: machines that train in this call.
        output: the output folder, for messages.

    Raises:
        InputError: another bundle or other data than those of the folder.
    """
    own = Record(
        str(plan.bundle),
        str(plan.dataset_dir),
        str(plan.datalist),
        list(plan.methods),
        list(plan.labels),
        list(plan.seeds),
        data,
        hardware,
    )
    if before is None:
        return own
    if Path(before.bundle).name != plan.bundle.name:
        raise InputError(f"{output} holds a benchmark of {Path(before.bundle).name}; give another --output")
    if before.data["fingerprint"] != data["fingerprint"]:
        raise InputError(
            f"--dataset-dir {plan.dataset_dir} holds other data than {output} was started with (fingerprint "
            f"{data['fingerprint']}, then {before.data['fingerprint']}): give the same data, or another --output"
        )
    for name in ("methods", "labels", "seeds", "hardware"):
        setattr(own, name, list(dict.fromkeys([*getattr(before, name), *getattr(own, name)])))
    own.data["labelled"] = {**before.data["labelled"], **data["labelled"]}
    own.seeds.sort()
    return own


def describe_data(plan: Plan, check: bool = True) -> dict[str, Any]:
    """Name, counts and fingerprint of the data.

    Args:
        plan: the benchmark.
        check: read every image and mask first, instead of in every run.

    Raises:
        InputError: something is wrong with a file.
    """
    splits = load_datalist(plan.datalist, plan.dataset_dir, use_unlabelled=False)
    subsets = {name: load_datalist(plan.datalist, plan.dataset_dir, name) for name in plan.labels}
    num_classes = read_facts(plan.datalist).num_classes
    if check:
        for subset in subsets.values():  # other masks are not used
            facts = read_facts(plan.datalist, subset)
            check_dataset(subset, num_classes, facts.ignore_value, facts.bit_depth)
    content = read_datalist(plan.datalist)
    return {
        "name": str(content.get("name", "")),
        "fingerprint": data_fingerprint(splits),
        "num_classes": num_classes,
        "training": len(content["training"]),
        "validation": len(splits["validation"]),
        "test": len(splits["test"]),
        "labelled": {name: len(subset["labelled"]) for name, subset in subsets.items()},
    }


def describe_hardware(settings: Mapping[str, Any], jobs: int) -> str:
    """The machine in words: GPU or processor with its threads, PyTorch's version, runs at once."""
    if torch.cuda.is_available() and not str(settings.get("device", "cuda")).startswith("cpu"):
        machine = torch.cuda.get_device_name()
    else:
        threads = os.environ.get("OMP_NUM_THREADS") or str(max(1, torch.get_num_threads() // jobs))
        machine = f"{_processor()}, {threads} thread{'s' if threads != '1' else ''} per run"
    together = f", {jobs} runs at once" if jobs > 1 else ""
    return f"{machine}, PyTorch {torch.__version__}{together}"


def _processor() -> str:
    information = Path("/proc/cpuinfo")
    if information.is_file():
        for line in information.read_text(errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
