"""Published splits: names of images and patients, by data set."""

from __future__ import annotations

import json
from pathlib import Path

__all__ = ["published_names"]


def published_names(dataset: str) -> dict[str, list[str]]:
    """The lists of names in `DATASET.json` beside this file."""
    content = json.loads(Path(__file__).with_name(f"{dataset}.json").read_text(encoding="utf-8"))
    return {key: names for key, names in content.items() if key != "about"}
