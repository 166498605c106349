"""What tests against a real server share: images of an odd size, and requests with their status."""

from __future__ import annotations

import json

import requests
from PIL import Image

from tests.bundles.conftest import ROOT
from tests.conftest import KL

BUNDLE = ROOT / "bundles" / "semigda_polyp"
NAME = BUNDLE.name
NETWORK = {"first_stage": KL, "width": 4, "mapper_width": 8}
SETTINGS = {"first_stage": KL, "width": 4, "network_def#mapper_width": 8, "image_size": 32}
REQUEST = {"device": "cpu", "multi_gpu": False, "val_split": 0, "max_epochs": 1, "alignment_epochs": 1, "mlflow": False}
ODD = (45, 38)


def fill(studies, items):
    """Images of an odd size: grey PNG, colour PNG, grey JPEG and colour JPEG; returns the masks by name."""
    studies.mkdir(parents=True)
    masks = {}
    for number, item in enumerate(items):
        name = f"case {number}"
        mode, suffix = [("L", ".png"), ("RGB", ".png"), ("L", ".jpg"), ("RGB", ".jpg")][number % 4]
        Image.open(item["image"]).convert(mode).resize(ODD).save(studies / f"{name}{suffix}")
        masks[name] = studies.parent / f"mask of {name}.png"
        Image.open(item["label"]).convert("L").resize(ODD, Image.Resampling.NEAREST).save(masks[name])
    return masks


class Client:
    """Requests to a server, with their status."""

    def __init__(self, server):
        self.url = server.url

    def infer(self, image="", output="json", upload=None, **params):
        files = {"file": upload} if upload else None
        query = {"image": image, "output": output}
        data = {"params": json.dumps({"device": "cpu", **params})}
        return requests.post(f"{self.url}/infer/{NAME}", params=query, data=data, files=files)

    def label(self, image, file):
        return requests.put(
            f"{self.url}/datastore/label", params={"image": image, "tag": "final"}, files={"label": file}
        )

    def upload(self, name, file):
        return requests.put(f"{self.url}/datastore/image", params={"image": name}, files={"file": file})

    def train(self, sync=True, **request):
        return requests.post(f"{self.url}/train/{NAME}?run_sync={sync}", json={**REQUEST, **request})

    def train_status(self):
        return requests.get(f"{self.url}/train/").json()

    def ask(self, strategy="disagreement"):
        return requests.post(f"{self.url}/activelearning/{strategy}", json={}).json()

    def info(self):
        return requests.get(f"{self.url}/info/").json()
