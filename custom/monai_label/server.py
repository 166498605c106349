"""MONAI Label's bundle app, with clear answers, a checked datastore and active learning by disagreement."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

from fastapi import HTTPException
from monailabel.interfaces.datastore import Datastore
from monailabel.interfaces.exception import MONAILabelException
from monailabel.interfaces.tasks.scoring import ScoringMethod
from monailabel.interfaces.tasks.strategy import Strategy
from monailabel.interfaces.tasks.train import TrainTask
from monailabel.tasks.train.bundle import BundleTrainTask

from custom.errors import InputError, find_input_error
from custom.monai_label.datastore import CheckedDatastore
from custom.monai_label.disagreement import Disagreement, DisagreementScoring
from custom.monai_label.models import is_trained

__all__ = ["SemiGDAApp", "SemiGDATrainTask"]

OPTIONS = ("use_unlabelled", "alignment_epochs", "seed", "learning_rate", "mlflow")
"""Keys of the training configuration which a request may set besides those that MONAI Label knows."""

NUMBERS = {
    "max_epochs": (int, 1, "a whole number from 1"),
    "alignment_epochs": (int, 1, "a whole number from 1"),
    "seed": (int, 0, "a whole number from 0"),
    "learning_rate": (float, 1e-9, "a number above 0"),
}
"""Type and least value of numbers in a training request."""


def _stock_app() -> ModuleType:
    """The app "monaibundle" which is installed with MONAI Label, outside of every package."""
    path = Path(sys.prefix, "monailabel", "sample-apps", "monaibundle", "main.py")
    if not path.is_file():
        raise InputError(f"MONAI Label's app monaibundle is not at {path}: install monailabel with pip")
    spec = importlib.util.spec_from_file_location("monailabel_stock_app", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class SemiGDATrainTask(BundleTrainTask):
    """Training of a bundle that takes further options, and starts from scratch where a request asks for it."""

    def config(self) -> dict[str, Any]:
        """What a request may contain, with the values that hold without it."""
        values = {key: self.bundle_config.get(key) for key in OPTIONS}
        expressions = {key: "" for key, value in values.items() if str(value).startswith(("$", "@"))}
        return {**super().config(), **values, **expressions}

    def __call__(self, request: Mapping[str, Any], datastore: Datastore) -> dict[str, Any]:
        """Train as `request` says.

        Raises:
            InputError: a value that the training cannot use.
        """
        request = {key: value for key, value in request.items() if value not in ("", None)}  # as clients fill forms
        _check(request)
        self._options = {key: request[key] for key in OPTIONS if key in request}
        if not request.get("pretrained", True):
            request["run_id"] = "from_scratch"
        return super().__call__(request, datastore)

    def _load_checkpoint(self, *_: Any) -> None:
        """Nothing: the bundle's training starts from its own model."""

    def _update_overrides(self, overrides: dict[str, Any]) -> dict[str, Any]:
        overrides.update(self._options)
        return overrides


def _check(request: Mapping[str, Any]) -> None:
    for key, (kind, least, wanted) in NUMBERS.items():
        value = request.get(key, least)
        is_number = isinstance(value, (int, kind)) and not isinstance(value, bool)
        if not is_number or value < least:
            raise InputError(f"{key} is {value!r}; give {wanted}")
    share = request.get("val_split", 0)
    if not isinstance(share, (int, float)) or share >= 1:
        raise InputError(f"val_split is {share!r}; give the share of the labels for validation, 0 for none")


class SemiGDAApp(_stock_app().MyApp):
    """The stock app for bundles, for those of this project.

    Everything that is wrong with a request is answered with a status from 400 to 409 and one line that says so.
    """

    def __init__(self, app_dir: str, studies: str, conf: dict[str, str]) -> None:
        bundles = sorted(path.parent.parent.name for path in Path(app_dir, "model").glob("*/configs/metadata.json"))
        defaults = {"models": ",".join(bundles), "zoo_source": "local", "sam2": "false"}
        super().__init__(app_dir, studies, {**defaults, **conf})

    def init_datastore(self) -> Datastore:
        """The folder of images, checked; a remote datastore as it is."""
        if self.studies.startswith(("http://", "https://")):
            return super().init_datastore()
        from monailabel.config import settings

        return CheckedDatastore(
            self.studies,
            extensions=settings.MONAI_LABEL_DATASTORE_FILE_EXT,
            auto_reload=settings.MONAI_LABEL_DATASTORE_AUTO_RELOAD,
            read_only=settings.MONAI_LABEL_DATASTORE_READ_ONLY,
        )

    def init_trainers(self) -> dict[str, TrainTask]:
        """One training for each bundle."""
        return {name: SemiGDATrainTask(self.models[name], self.conf) for name in super().init_trainers()}

    def init_strategies(self) -> dict[str, Strategy]:
        """The stock ones, and "disagreement"."""
        files = {name: (_model(path), _scores(path)) for name, path in self.models.items()}
        return {**super().init_strategies(), "disagreement": Disagreement(files, self._start_scoring)}

    def init_scoring_methods(self) -> dict[str, ScoringMethod]:
        """One scoring for each bundle, which MONAI Label starts after each training."""
        return {
            name: DisagreementScoring(self._infers[name], _model(path), _scores(path))
            for name, path in self.models.items()
        }

    def infer(self, request: Mapping[str, Any], datastore: Datastore | None = None) -> dict[str, Any]:
        """Predict the mask of an image."""
        with _clear_answers():
            image, name = request.get("image"), request.get("model")
            if isinstance(image, str) and not Path(image).exists() and not self.datastore().get_image_uri(image):
                raise HTTPException(404, f"the datastore has no image {image!r}")
            if name in self.models and not is_trained(_model(self.models[name])):
                raise HTTPException(409, f"{name} is not trained yet: label some images and train it first")
            return super().infer(request, datastore)

    def train(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """Train a model."""
        with _clear_answers():
            return super().train(request)

    def next_sample(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """Choose the image to label next."""
        with _clear_answers():
            if request.get("model") not in (None, *self.models):
                raise HTTPException(404, f"there is no model {request['model']!r}")
            # without the scoring that the stock app starts at each question
            automatic, self._auto_update_scoring = self._auto_update_scoring, False
            try:
                return super().next_sample(request)
            finally:
                self._auto_update_scoring = automatic

    def scoring(self, request: Mapping[str, Any], datastore: Datastore | None = None) -> dict[str, Any]:
        """Score all images."""
        with _clear_answers():
            return super().scoring(request, datastore)

    def _start_scoring(self, name: str) -> None:
        """Score in the background, unless that is being done already."""
        from monailabel.utils.async_tasks.task import AsyncTask

        AsyncTask.run("scoring", request={"method": name})


def _model(bundle: str) -> Path:
    return Path(bundle, "models", "model.pt")


def _scores(bundle: str) -> Path:
    return Path(bundle, "runs", "disagreement.json")


@contextmanager
def _clear_answers() -> Iterator[None]:
    """Answer mistakes in one line; a training process of the server's prints them so."""
    try:
        yield
    except HTTPException:
        raise
    except Exception as error:
        found = find_input_error(error)
        if _is_background_process() or not (found or isinstance(error, MONAILabelException)):
            raise
        raise HTTPException(400, str(found or error.msg)) from error


def _is_background_process() -> bool:
    main = sys.modules["__main__"].__spec__
    return main is not None and main.name == "monailabel.interfaces.utils.app"
