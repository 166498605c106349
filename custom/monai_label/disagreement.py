"""Active learning: which image to label next, by how much the two branches of the model differ."""

from __future__ import annotations

import json
import logging
import os
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monailabel.interfaces.datastore import Datastore
from monailabel.interfaces.tasks.scoring import ScoringMethod
from monailabel.interfaces.tasks.strategy import Strategy
from monailabel.tasks.activelearning.random import Random
from monailabel.tasks.infer.basic_infer import BasicInferTask, CallBackTypes
from numpy.typing import NDArray

from custom.checkpoints.untrained import is_trained
from custom.error_causes import find_input_error
from custom.files import write_whole
from custom.monai_label.ranking import rank

__all__ = ["Disagreement", "DisagreementScoring"]

logger = logging.getLogger(__name__)

SECONDS_BETWEEN_SAVES = 20
"""How often the scores found so far are written while scoring."""

SLICES_AT_ONCE = 8


class DisagreementScoring(ScoringMethod):
    """Scores every image of the datastore: how much the branches differ, and the features of the image.

    The server runs it in a process of its own after each training. So it writes a file beside the model, and
    leaves the datastore, which the server may be changing at the same moment, to `Disagreement`. The file is written
    now and then while it scores, so that images are ranked before all have a score, and after a stop it goes on.

    Args:
        task: MONAI Label's inference with the bundle.
        model: the bundle's model file.
        scores: JSON file to write.
    """

    def __init__(self, task: BasicInferTask, model: Path, scores: Path) -> None:
        super().__init__("Disagreement of the two branches on each image")
        self.task = task
        self.model = model
        self.scores = scores

    def __call__(self, request: Mapping[str, Any], datastore: Datastore) -> dict[str, Any]:
        """Score all images with the present model, except those that have a score of it."""
        images = sorted(datastore.list_images())
        if not is_trained(self.model):
            return {"total": len(images), "executed": 0, "reason": "the model is not trained yet"}
        version = _version(self.model)
        known = read_scores(self.scores, self.model)
        found = {image: known[image] for image in images if image in known}
        missing = [image for image in images if image not in found]
        self._save(version, found)
        saved = time.monotonic()
        for number, image in enumerate(missing, 1):
            try:
                found[image] = self._score(datastore.get_image_uri(image), request.get("device"))
            except Exception as error:
                if find_input_error(error) is None:
                    raise
                logger.warning("%s is not scored: %s", image, find_input_error(error))
            logger.info("scored %d of %d images", number, len(missing))
            if time.monotonic() - saved > SECONDS_BETWEEN_SAVES:
                self._save(version, found)
                saved = time.monotonic()
        self._save(version, found)
        return {"total": len(images), "executed": len(missing)}

    def _save(self, version: str, found: Mapping[str, Any]) -> None:
        self.scores.parent.mkdir(parents=True, exist_ok=True)
        write_whole(self.scores, json.dumps({"model": version, "images": found}).encode())

    def _score(self, path: str, device: str | None) -> dict[str, Any]:
        features = []

        def keep_features(data: dict[str, Any]) -> dict[str, Any]:
            network = self.task._get_network(data["device"], data)
            features.extend(describe_image(network, data["image"].as_tensor().to(data["device"])))
            return data

        request = {"image": path, "skip_writer": True, **({"device": device} if device else {})}
        _, data = self.task(request, {CallBackTypes.INFERER: keep_features})
        return {"disagreement": data["result"]["disagreement"], "features": features}


def describe_image(network: torch.nn.Module, image: torch.Tensor) -> list[float]:
    """The deepest features of an image in the trained encoder, averaged over pixels, and over the slices of a volume.

    Mirrored and shifted copies of an image get nearly the same numbers.

    Args:
        network: SemiGDA.
        image: [3, W, H], or a volume [3 or 1, I, J, K], in [0, 1].
    """
    slices = image[..., None] if image.ndim == 3 else image
    slices = slices.expand(3, -1, -1, -1).movedim(-1, 0)
    with torch.no_grad():
        means = [
            network.encode_images(part.contiguous()).mask_skips[-1].mean(dim=(2, 3))
            for part in slices.split(SLICES_AT_ONCE)
        ]
    return [round(value, 5) for value in torch.cat(means).mean(dim=0).tolist()]


def read_scores(scores: Path, model: Path) -> dict[str, dict[str, Any]]:
    """Scores by image that belong to the present model; empty if there are none."""
    try:
        content = json.loads(scores.read_text())
    except (OSError, ValueError):
        return {}
    return content["images"] if content["model"] == _version(model) else {}


def _version(model: Path) -> str:
    return str(os.stat(model).st_mtime_ns)


class Disagreement(Strategy):
    """Suggests the unlabelled image on which the branches differ most, among those unlike what was suggested before.

    Without a trained model, or while its scores are being computed, an image is drawn at random.

    Args:
        files: model file and score file by name of the model; a request may choose with "model".
        start_scoring: called with a model's name where its scores are missing.
    """

    def __init__(self, files: Mapping[str, tuple[Path, Path]], start_scoring: Callable[[str], None]) -> None:
        super().__init__("Largest disagreement of the two branches, unlike the images asked for before")
        self.files = files
        self.start_scoring = start_scoring
        self.random = Random()

    def __call__(self, request: Mapping[str, Any], datastore: Datastore) -> dict[str, Any] | None:
        """The image's "id", its "weight", and the "reason" of the choice; None if every image has a label."""
        unlabelled = datastore.get_unlabeled_images()
        if not unlabelled:
            return None
        name = request.get("model") or next(iter(self.files))
        model, file = self.files[name]
        if not is_trained(model):
            return self._at_random(request, datastore, "the model is not trained yet")
        scores = read_scores(file, model)
        candidates = [image for image in sorted(unlabelled) if image in scores]
        scored = len(candidates)
        if scored < len(unlabelled):
            self.start_scoring(name)
        if not candidates:
            return self._at_random(request, datastore, f"the images are being scored (0 of {len(unlabelled)})")
        self._store(datastore, candidates, scores)
        asked = self._asked(datastore, unlabelled, request["strategy"], os.stat(model).st_mtime)
        if asked.issuperset(candidates):
            asked = set()  # every image was asked for, and these have no label yet: start again
        candidates = [image for image in candidates if image not in asked]
        seen = [image for image in scores if image not in unlabelled or image in asked]
        order = rank(
            _array([scores[image]["disagreement"] for image in candidates]),
            _array([scores[image]["features"] for image in candidates]),
            _array([scores[image]["features"] for image in seen]),
            most=1,
        )
        chosen, weight = candidates[order[0][0]], order[0][1]
        reason = f"disagreement {scores[chosen]['disagreement']:.3f}"
        if scored < len(unlabelled):
            reason += f", among the {scored} of {len(unlabelled)} images that are scored so far"
        return {"id": chosen, "weight": weight, "reason": reason}

    def _at_random(self, request: Mapping[str, Any], datastore: Datastore, reason: str) -> dict[str, Any]:
        return {**self.random(request, datastore), "reason": f"random: {reason}"}

    @staticmethod
    def _store(datastore: Datastore, images: Sequence[str], scores: Mapping[str, Mapping[str, Any]]) -> None:
        """Write new scores to the datastore, where clients see them: all at once, where the datastore can do so."""
        new = {
            image: {"disagreement": scores[image]["disagreement"]}
            for image in images
            if datastore.get_image_info(image).get("disagreement") != scores[image]["disagreement"]
        }
        if new and hasattr(datastore, "update_image_infos"):
            datastore.update_image_infos(new)
        else:
            for image, info in new.items():
                datastore.update_image_info(image, info)

    @staticmethod
    def _asked(datastore: Datastore, images: Sequence[str], strategy: str, since: float) -> set[str]:
        """Images that this strategy asked for since the model was trained."""
        times = {image: datastore.get_image_info(image).get("strategy", {}).get(strategy, {}) for image in images}
        return {image for image, given in times.items() if given.get("ts", 0) >= int(since)}


def _array(values: Sequence[Any]) -> NDArray[np.float64]:
    return np.asarray(values, np.float64)
