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

network = load(first.name, bundle_dir=first.parent, workflow_type="inference", device="cpu")
seen["loaded"] = type(network).__name__
seen["prediction"] = network(torch.full((1, 3, 32, 32), 0.5)).mean().item()
seen["files after load"] = sorted(path.name for path in first.iterdir())

inference = create_workflow(
    config_file=str(first / "configs" / "inference.json"),
    workflow_type="infer",
    dataset_dir=str(images),
    num_workers=0,
    device="cpu",
)
seen["inference lacks"] = inference.check_properties()
inference.run()
seen["inference root"] = inference.bundle_root

training = create_workflow(
    config_file=str(second / "configs" / "train.json"),
    workflow_type="train",
    run_id="training",
    **json.loads(settings.read_text()),
)
seen["training lacks"] = training.check_properties()
training.run()
seen["training root"] = training.bundle_root

seen["code"] = sys.modules["custom"].__file__
try:
    create_workflow(config_file=str(other / "configs" / "inference.json"), workflow_type="infer")
except Exception as error:
    seen["other version"] = str(sys.modules["custom.error_causes"].find_input_error(error))
print(json.dumps(seen))
