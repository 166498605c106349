"""What papers report on the same data sets: shown apart from the own rows, never among them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from custom.errors import InputError
from custom.tables import markdown_table

__all__ = ["published_data_sets", "published_section", "read_published"]


def read_published() -> dict[str, Any]:
    """`published.json`: "bundles" and "datalists" map names to data sets, "tables" holds rows with their sources."""
    return json.loads(Path(__file__).with_name("published.json").read_text(encoding="utf-8"))


def published_data_sets(bundle: str, dataset: str, num_classes: int, asked_for: str | None = None) -> list[str]:
    """Names of the published data sets that belong beside a benchmark.

    Args:
        bundle: name of the bundle.
        dataset: "name" of the datalist; data sets with classes of their own, such as ACDC, are known by it.
        num_classes: K, with the background.
        asked_for: a data set by name, "none", or None for the bundle's.

    Raises:
        InputError: there is no such data set.
    """
    published = read_published()
    known = list(dict.fromkeys(table["data"] for table in published["tables"]))
    if asked_for is not None:
        if asked_for == "none":
            return []
        if asked_for not in known:
            raise InputError(f"--published: {asked_for!r} is not one of {', '.join([*known, 'none'])}")
        return [asked_for]
    if "phantom" in dataset.lower():  # synthetic pictures, whatever the bundle
        return []
    for name, entry in published["datalists"].items():
        if dataset.lower().startswith(name.lower()) and num_classes == entry["num_classes"]:
            return entry["data"]
    return published["bundles"].get(bundle, []) if num_classes == 2 else []


def published_section(data_sets: list[str]) -> str:
    """Markdown of the published tables of some data sets, each under its source; empty without any."""
    tables = [table for table in read_published()["tables"] if table["data"] in data_sets]
    if not tables:
        return ""
    parts = [
        "## Published elsewhere: not comparable with the rows above",
        "Numbers of the papers named, by their authors, with other networks, image sizes, splits, training and metrics "
        "than above. They show what has been reported on these data, not which method is better here.",
    ]
    for table in tables:
        source = table["source"]
        parts += [f"### {table['data']}, {source['table']} of {source['paper']}", _describe(table), _rows(table)]
    return "\n\n".join(parts)


def _describe(table: dict[str, Any]) -> str:
    source = table["source"]
    metrics = "; ".join(f"{name}: {meaning}" for name, meaning in table["metrics"].items())
    size = f"{table['image_size']} pixels" if table.get("image_size") else "not stated"
    return (
        f"Source: {source['address']} (read from: {source['read_from']}). Whose runs: {source['whose_runs']}. "
        f"Image size: {size}. Preset: {table['preset']}. Metrics: {metrics}. {table.get('note', '')}".strip()
    )


def _rows(table: dict[str, Any]) -> str:
    names = list(table["metrics"])
    lines = [[row["labels"], row["method"], *(row.get(name, "–") for name in names)] for row in table["rows"]]
    return markdown_table(["labelled", "method", *names], lines)
