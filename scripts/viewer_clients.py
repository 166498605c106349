"""What annotation viewers ask a MONAI Label server: by the files of their plugins, unchanged, where Python runs these.

The plugins come with MONAI Label. QuPath's is in Java; its requests are taken from its source.
"""

from __future__ import annotations

import importlib.util
import json
import logging
import os
import sys
from argparse import Namespace
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any
from xml.etree import ElementTree

import numpy as np
from numpy.typing import NDArray

__all__ = ["QUPATH", "ask_cvat", "outlines_of_asap", "plugin", "slicer_client", "slicer_infer"]

PLUGINS = Path(sys.prefix, "monailabel", "plugins")

QUPATH: dict[str, Any] = {
    "level": 0,
    "location": [0, 0],
    "size": [0, 0],
    "tile_size": [1024, 1024],
    "min_poly_area": 0,
    "params": {"foreground": [], "background": [], "max_workers": 1},
}
"""What QuPath's *Annotations* sends for a whole image."""


def plugin(file: str) -> ModuleType:
    """A file of a plugin, as it is, as a module."""
    spec = importlib.util.spec_from_file_location(f"plugin_{Path(file).stem}", PLUGINS / file)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def slicer_client(url: str, folder: Path) -> Any:
    """The client of the plugin for 3D Slicer; it saves what it gets in `folder`."""
    module = plugin("slicer/MONAILabel/MONAILabelLib/client.py")
    return module.MONAILabelClient(url, str(folder), "user-xyz")


def slicer_infer(client: Any, model: str, image: str, **options: Any) -> tuple[str, dict[str, Any]]:
    """The file of a mask and what came with it, asked for as `MONAILabelLogic.infer` of the plugin does."""
    return client.infer(model, image, {"result_extension": ".nrrd", "result_dtype": "uint8"}, **options)


def ask_cvat(file: str, url: str, model: str, body: Mapping[str, Any]) -> Any:
    """What CVAT gets from one of its serverless functions, `detector.py` or `interactor.py`.

    Args:
        file: its name.
        url: of the server.
        model: name of the model.
        body: what CVAT sends: "image", a file as Base64, and what the user has drawn.
    """
    with _environment(MONAI_LABEL_SERVER=url, MONAI_LABEL_MODEL=model):
        module = plugin(f"cvat/{file}")
        answer = lambda **parts: parts  # noqa: E731
        context = Namespace(logger=logging.getLogger("cvat"), user_data=Namespace(), Response=answer)
        module.init_context(context)
        response = module.handler(context, Namespace(body=body))
    if response["status_code"] != 200:
        raise RuntimeError(f"{file} answers with status {response['status_code']}: {response['body']}")
    return json.loads(response["body"])


@contextmanager
def _environment(**values: str) -> Iterator[None]:
    before = dict(os.environ)
    os.environ.update(values)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def outlines_of_asap(xml: str) -> list[tuple[str, str, NDArray[np.float64]]]:
    """Name, colour such as "#ff0000", and points [N, 2] as (x, y) of each annotation, as QuPath reads them."""
    found = []
    for annotation in ElementTree.fromstring(xml).iter("Annotation"):
        points = [[float(each.get(key)) for key in "XY"] for each in annotation.iter("Coordinate")]
        found.append((annotation.get("Name"), annotation.get("Color"), np.array(points)))
    return found
