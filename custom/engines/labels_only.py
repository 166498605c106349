"""The same training on the labels alone, to compare with."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import ignite.distributed as idist
from monai.bundle import ConfigWorkflow

from custom.errors import InputError
from custom.metrics import format_table

__all__ = ["LabelsOnlyBaseline"]


class LabelsOnlyBaseline:
    """Runs a bundle's training a second time without its unlabelled images and shows both test results.

    Network, initial weights, augmentation, schedule, number of steps and labelled images per step are those of the
    first run; the unlabelled half of every batch is missing.

    Args:
        config_file: `config.json` of the first run, which holds all that was set.
        meta_file: metadata of the bundle.
        output_dir: folder of the second run.
        dataset_dir: data of the first run.
        resume: continue where an interrupted second run stopped.

    Raises:
        InputError: there are several processes.
    """

    def __init__(
        self,
        config_file: str | os.PathLike,
        meta_file: str | os.PathLike,
        output_dir: str | os.PathLike,
        dataset_dir: str | os.PathLike,
        resume: bool = False,
    ) -> None:
        if idist.get_world_size() > 1:
            raise InputError(
                "quickstart.yaml is for one process: start it with python and without multi_gpu_train.yaml"
            )
        self.config_file = str(config_file)
        self.meta_file = str(meta_file)
        self.output_dir = Path(os.path.abspath(output_dir))  # a text that MONAI never evaluates
        self.dataset_dir = os.path.abspath(dataset_dir)
        self.resume = resume

    def run(self) -> dict[str, Any]:
        """Train on the labels alone and return the test summary."""
        workflow = ConfigWorkflow(
            config_file=self.config_file,
            meta_file=self.meta_file,
            workflow_type="train",
            logging_file=False,
            use_unlabelled=False,
            output_dir=str(self.output_dir),
            dataset_dir=self.dataset_dir,
            resume=self.resume and self.output_dir.is_dir(),
            training=["@start", "$@session.run()"],
        )
        workflow.initialize()
        ((_, summary),) = workflow.run()
        workflow.finalize()
        return summary

    def compare(self, summary: dict[str, Any]) -> dict[str, Any]:
        """Run, then print a table of both test results: `summary` is that of the run with unlabelled images."""
        details = summary["details"]
        print(f"\nthe same network on the {details['labelled']} labels alone, for as many steps ...", flush=True)
        results = {
            f"{details['method']}, {details['labelled']} labels + {details['unlabelled']} images": summary,
            f"the same network, {details['labelled']} labels only": self.run(),
        }
        prediction = next(iter(summary["branches"]))
        table = format_table({name: result["branches"][prediction] for name, result in results.items()})
        print(f"\ntest images: {summary['images']}, mean and 95 % bootstrap interval over images, one seed\n{table}")
        return results
