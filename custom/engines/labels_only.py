"""The same network on the labels alone: what the unlabelled images must beat."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from monai.bundle import ConfigWorkflow

from custom.handlers import format_table

__all__ = ["LabelsOnlyBaseline"]


class LabelsOnlyBaseline:
    """Runs a bundle's training a second time without its unlabelled images and shows both test results.

    Network, initial weights, augmentation, schedule, number of steps and labelled images a step are those of the first
    run; the unlabelled half of every batch is missing.

    Args:
        config_files: the configuration files of the first run.
        output_dir: folder of the second run.
        overrides: settings of the first run that came from elsewhere than the files.
    """

    def __init__(self, config_files: list[str], output_dir: str | os.PathLike, overrides: dict[str, Any]) -> None:
        self.config_files = config_files
        self.output_dir = Path(output_dir)
        self.overrides = overrides

    def run(self) -> dict[str, Any]:
        """Train on the labels alone and return the test summary."""
        finished_before = (self.output_dir / "checkpoints").is_dir()
        overrides = self.overrides | {"use_unlabelled": False, "output_dir": str(self.output_dir), "initialize": []}
        overrides["resume"] = self.overrides.get("resume", False) if finished_before else False
        workflow = ConfigWorkflow(
            config_file=self.config_files, workflow_type="train", logging_file=False, run_id="run_session", **overrides
        )
        self.output_dir.mkdir(parents=True, exist_ok=True)
        (self.output_dir / "config.json").write_text(json.dumps(workflow.parser.get(), indent=1, default=str))
        workflow.initialize()
        (summary,) = workflow.run()
        workflow.finalize()
        return summary

    def compare(self, summary: dict[str, Any]) -> dict[str, Any]:
        """Run, then print a table of both test results: `summary` is that of the run with unlabelled images."""
        details = summary["details"]
        print(f"\nthe same network on the {details['labelled']} labels alone, for as many steps ...", flush=True)
        results = {
            f"SemiGDA, {details['labelled']} labels + {details['unlabelled']} images": summary,
            f"the same network, {details['labelled']} labels only": self.run(),
        }
        table = format_table({name: result["branches"]["mean"] for name, result in results.items()})
        print(f"\ntest images: {summary['images']}, mean and 95 % bootstrap interval over images, one seed\n{table}")
        return results
