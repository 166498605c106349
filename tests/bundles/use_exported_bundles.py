"""What `test_exported_bundle.py` runs in a process that knows nothing of the repository: prints JSON.

python -I use_exported_bundles.py FIRST SECOND OTHER IMAGES TRAINING_SETTINGS: three unpacked bundles, the last one with
another version of the code, images to segment, and a file of settings for a short training.
"""

from __future__ import annotations

import importlib.util
import json
import os
import sys
from pathlib import Path

import torch
from monai.bundle import create_workflow, load

torch.set_num_threads(1)
first, second, other, images, settings = map(Path, sys.argv[1:])
seen = {"importable before": importlib.util.find_spec("custom") is not None, "folder": os.getcwd()}


def message_of(file, **settings):
    """The one line with which a workflow is refused."""
    try:
        create_workflow(config_file=str(file), workflow_type="infer", **settings)
    except Exception as error:
        return str(sys.modules["custom.error_causes"].find_input_error(error))


def prediction(network):
    """The mean of what a network paints on a grey image."""
    return network(torch.full((1, 3, 32, 32), 0.5)).mean().item()


root = {"bundle_root": str(first)}
network = load(first.name, bundle_dir=first.parent, workflow_type="inference", device="cpu", args_file=root)
seen["loaded"] = type(network).__name__
seen["prediction"] = prediction(network)
os.chdir(first)
network = load(first.name, bundle_dir=first.parent, workflow_type="inference", device="cpu")
os.chdir("/")
seen["prediction in its folder"] = prediction(network)
seen["files after load"] = sorted(path.name for path in first.iterdir())

inference = create_workflow(
    config_file=str(first / "configs" / "inference.yaml"),
    workflow_type="infer",
    bundle_root=str(first),
    dataset_dir=str(images),
    num_workers=0,
    device="cpu",
)
seen["inference lacks"] = inference.check_properties()
inference.run()
seen["inference root"] = inference.bundle_root

without_data = create_workflow(
    config_file=str(second / "configs" / "train.yaml"),
    workflow_type="train",
    bundle_root=str(second),
    first_stage=str(second / "first_stages" / "phantom"),
    width=4,
)
seen["classes without data"] = without_data.parser.get_parsed_content("network_def").num_classes

training = create_workflow(
    config_file=str(second / "configs" / "train.json"),
    workflow_type="train",
    bundle_root=str(second),
    run_id="training",
    **json.loads(settings.read_text()),
)
seen["training lacks"] = training.check_properties()
training.run()
seen["training root"] = training.bundle_root

seen["code"] = sys.modules["custom"].__file__
seen["other version"] = message_of(other / "configs" / "inference.json", bundle_root=str(other))
seen["no root"] = message_of(first / "configs" / "inference.yaml")
print(json.dumps(seen))
