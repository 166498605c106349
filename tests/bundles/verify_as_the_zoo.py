"""What the model zoo's checks do with a bundle, in a process that knows nothing of the repository: prints JSON.

python -I verify_as_the_zoo.py BUNDLE...: the calls of ci/verify_bundle.py (mode "full") of Project-MONAI/model-zoo,
with its arguments, in its order: the bundle's folder first on the path, files, shapes with the metadata's integers, and
the export to TorchScript that scripts the network and names no entry of the checkpoint. The metadata's schema and the
changelog are tested in `test_model_zoo.py`; the properties are checked only of bundles that name `supported_apps`.
"""

from __future__ import annotations

import json
import sys
import warnings
from pathlib import Path

import torch
from monai.bundle import ckpt_export, verify_net_in_out

warnings.simplefilter("ignore")
torch.set_num_threads(1)
seen = {}
for bundle in map(Path, sys.argv[1:]):
    sys.path.insert(0, str(bundle))
    files = {"meta_file": str(bundle / "configs" / "metadata.json"), "bundle_root": str(bundle)}
    present = [(bundle / name).is_file() for name in ("configs/metadata.json", "LICENSE", "models/model.pt")]
    (config,) = [f"configs/inference.{kind}" for kind in ("json",) if (bundle / f"configs/inference.{kind}").is_file()]
    network = {"net_id": "network_def", "config_file": str(bundle / config), **files}
    verify_net_in_out(**network)
    exported = bundle / "models" / "verify_model.ts"
    ckpt_export(filepath=str(exported), ckpt_file=str(bundle / "models" / "model.pt"), **network)
    image = torch.linspace(0, 1, 2 * 3 * 96 * 64).reshape(2, 3, 96, 64)
    from custom.networks import load_model

    with torch.no_grad():
        wanted = load_model(bundle / "models" / "model.pt")(image)
        given = torch.jit.load(str(exported))(image)
    seen[bundle.name] = {
        "files": all(present),
        "difference": (wanted - given).abs().max().item(),
        "spread": wanted.std().item(),
    }
print(json.dumps(seen))
