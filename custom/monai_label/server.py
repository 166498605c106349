"""MONAI Label's bundle app, with one-line errors, a checked datastore and active learning by disagreement."""

from __future__ import annotations

import importlib.util
import os
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from fastapi import HTTPException
from monailabel.datastore.dicom import DICOMWebDatastore
from monailabel.interfaces.datastore import Datastore, DefaultLabelTag
from monailabel.interfaces.tasks.infer_v2 import InferTask
from monailabel.interfaces.tasks.scoring import ScoringMethod
from monailabel.interfaces.tasks.strategy import Strategy
from monailabel.interfaces.tasks.train import TrainTask
from monailabel.tasks.train.bundle import BundleTrainTask
from pydantic import BaseModel

from custom.checkpoints.untrained import is_trained
from custom.error_causes import find_input_error
from custom.errors import InputError
from custom.monai_label.allowed import (
    BatchOptions,
    InferOptions,
    ScoringOptions,
    TrainOptions,
    WSIOptions,
    check_conf,
    check_options,
    refuse_expressions,
)
from custom.monai_label.answers import SemiGDAInferTask
from custom.monai_label.datastore import CheckedDatastore
from custom.monai_label.dicom_store import CheckedDICOMWebDatastore
from custom.monai_label.disagreement import Disagreement, DisagreementScoring
from custom.monai_label.guard import install_guard
from custom.monai_label.names import is_plain

__all__ = ["SemiGDAApp", "SemiGDATrainTask"]

OPTIONS = ("use_unlabelled", "alignment_epochs", "seed", "learning_rate", "mlflow")
"""Keys of the training configuration which a request may set besides those that MONAI Label knows."""

FORMATS = {".png": ("uint8", "uint16"), ".bmp": ("uint8",), ".jpg": ("uint8",), ".jpeg": ("uint8",)}
"""Numbers that files of these types hold; others hold all that a request may ask for."""


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
        return {**super().config(), **values, **expressions, "tracking_uri": ""}

    def __call__(self, request: Mapping[str, Any], datastore: Datastore) -> dict[str, Any]:
        """Train as `request` asks: "model", and what `TrainOptions` offers.

        Raises:
            InputError: a key or value that a request must not contain.
        """
        model = request["model"]
        options = check_options(TrainOptions, {key: value for key, value in request.items() if key != "model"}).given()
        self._options = {key: options[key] for key in OPTIONS if key in options}
        self._options.update(_tracking(options))
        if not options.get("pretrained", True):
            options["run_id"] = "from_scratch"
        return super().__call__({**options, "model": model, "tracking": "None"}, datastore)

    def _load_checkpoint(self, *_: Any) -> None:
        """Nothing: the bundle's training starts from its own model."""

    def _update_overrides(self, overrides: dict[str, Any]) -> dict[str, Any]:
        overrides.update(self._options)
        overrides.pop(self.const.key_train_handlers())  # as they stand in the bundle's own file
        for key, value in overrides.items():  # whatever happened before: data only, for the rest is evaluated
            refuse_expressions(value, key)
        return overrides


def _tracking(options: Mapping[str, Any]) -> dict[str, Any]:
    """MONAI Label's words for tracking as keys of the bundle, which tracks its runs by itself."""
    keys = {"tracking_run_name": "run_name", "tracking_experiment_name": "tracker#experiment_name"}
    names = {key: options[word] for word, key in keys.items() if word in options}
    return {**names, **({"mlflow": True} if options.get("tracking") == "mlflow" else {})}


class SemiGDAApp(_stock_app().MyApp):
    """The stock app for bundles, for those of this project.

    What a request may contain is checked before MONAI Label's endpoints see it (`RequestGuard`), and here once more.
    An error in a request is answered with a status from 400 to 429 and one line that names it.

    Raises:
        InputError: a value of `conf` that is wrong.
    """

    def __init__(self, app_dir: str, studies: str, conf: dict[str, str]) -> None:
        bundles = sorted(path.parent.parent.name for path in Path(app_dir, "model").glob("*/configs/metadata.json"))
        check_conf(conf, bundles)
        defaults = {"models": ",".join(bundles), "zoo_source": "local", "sam2": "false"}
        super().__init__(app_dir, studies, {**defaults, **conf})

    def server_mode(self, mode: bool) -> None:
        """Called with True when a server starts: from now on, requests are checked."""
        super().server_mode(mode)
        if mode:
            from monailabel.app import app

            install_guard(app)

    def init_datastore(self) -> Datastore:
        """The folder of images, or a DICOM store, with checks; another remote datastore as it is."""
        if self.studies.startswith(("http://", "https://")):
            store = super().init_datastore()
            is_dicom = isinstance(store, DICOMWebDatastore)
            return CheckedDICOMWebDatastore.of(store, self._class_names) if is_dicom else store
        from monailabel.config import settings

        return CheckedDatastore(
            self.studies,
            self._class_names,
            extensions=settings.MONAI_LABEL_DATASTORE_FILE_EXT,
            auto_reload=settings.MONAI_LABEL_DATASTORE_AUTO_RELOAD,
            read_only=settings.MONAI_LABEL_DATASTORE_READ_ONLY,
        )

    def _class_names(self) -> dict[str, int]:
        """Class index by name, of all models; where two models use a name, it has the index of the first."""
        return {name: index for task in reversed(self._infers.values()) for name, index in task.labels.items()}

    def init_infers(self) -> dict[str, InferTask]:
        """A prediction for each bundle."""
        return {name: SemiGDAInferTask(path, self.conf) for name, path in self.models.items()}

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
        """Predict the mask of an image of the datastore, or of one that came with the request."""
        return self._infer(request, check_options(InferOptions, _of(InferOptions, request)), {}, datastore)

    def infer_wsi(self, request: Mapping[str, Any], datastore: Datastore | None = None) -> dict[str, Any]:
        """Predict the mask of the whole image; in a region, if the request names one, all else is background."""
        options = check_options(InferOptions, _of(InferOptions, request))
        region = check_options(WSIOptions, _of(WSIOptions, request))
        further: dict[str, Any] = {}
        if region.min_poly_area is not None:
            further["min_poly_area"] = region.min_poly_area
        if region.size and all(region.size) and not options.roi:
            left, top = region.location or (0, 0)
            further["roi"] = [left, top, left + region.size[0], top + region.size[1]]
        return self._infer(request, options, further, datastore)

    def _infer(
        self,
        request: Mapping[str, Any],
        options: InferOptions,
        further: Mapping[str, Any],
        datastore: Datastore | None,
    ) -> dict[str, Any]:
        store = datastore or self.datastore()
        name, image = request.get("model"), request.get("image")
        if name in self.models and not is_trained(_model(self.models[name])):
            raise HTTPException(409, f"{name} is not trained yet: label some images and train it first")
        file = self._image_file(image, store)
        _check_format(options, Path(file).suffix)
        try:
            result = super().infer({"model": name, "image": file, **options.used(), **further}, store)
        except Exception as error:
            found = find_input_error(error)
            if found is None or not _is_path(image):
                raise
            raise InputError(str(found).replace(file, "the uploaded image")) from error
        if options.save_label and not _is_path(image) and result["file"]:
            tag = options.label_tag or DefaultLabelTag.ORIGINAL.value
            info = {"model": name, "params": result["params"]}
            return {**result, "label": store.save_label(image, result["file"], tag, info), "tag": tag}
        return result

    def batch_infer(self, request: Mapping[str, Any], datastore: Datastore | None = None) -> dict[str, Any]:
        """Predict and store the masks of many images."""
        options = check_options(BatchOptions, _of(BatchOptions, request)).given()
        if not torch.cuda.is_available():
            options.update(multi_gpu=False, gpus="all")
        return super().batch_infer({"model": request.get("model"), **options}, datastore)

    def train(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """Train a model."""
        # What MONAI Label itself adds, or sends for all models at once.
        added = {"bundle_path", "local_rank", *self._trainers}
        return super().train({key: value for key, value in request.items() if key not in added})

    def next_sample(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """Choose the image to label next."""
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
        options = check_options(ScoringOptions, _of(ScoringOptions, request)).given()
        return super().scoring({"method": request.get("method"), **options}, datastore)

    def _image_file(self, image: str | None, datastore: Datastore) -> str:
        """Path of an image: only of the datastore, or where MONAI Label puts uploads and sessions."""
        if _is_path(image):
            path = Path(image).resolve()
            sessions = self.sessions()
            places = [tempfile.gettempdir(), *([sessions.store_path] if sessions is not None else [])]
            if any(path.is_relative_to(Path(place).resolve()) for place in places) and path.is_file():
                return image
            raise HTTPException(400, "an image is named as in the datastore, without a folder, or uploaded")
        uri = datastore.get_image_uri(image) if image else ""
        if not uri:
            raise HTTPException(404, f"the datastore has no image {image!r}")
        return uri

    def _start_scoring(self, name: str) -> None:
        """Score in the background, unless that is being done already or waits for its turn."""
        from monailabel.utils.async_tasks.task import AsyncTask

        tasks, _ = AsyncTask.status("scoring", all=True)
        if not any(task["status"] in ("SUBMITTED", "RUNNING") for task in tasks or ()):
            AsyncTask.run("scoring", request={"method": name})


def _model(bundle: str) -> Path:
    return Path(bundle, "models", "model.pt")


def _scores(bundle: str) -> Path:
    return Path(bundle, "runs", "disagreement.json")


def _is_path(image: str | None) -> bool:
    return image is not None and not is_plain(image) and os.path.isabs(image)


def _check_format(options: InferOptions, suffix: str) -> None:
    """Refuse a kind of numbers that the mask's file cannot hold; the type of the file is by default the image's."""
    kind = (options.result_extension or suffix).lower()
    held = FORMATS.get(kind, (options.result_dtype,))
    if options.result_dtype and options.result_dtype not in held:
        raise InputError(f"result_dtype is {options.result_dtype!r}, but a {kind} file holds {' or '.join(held)}")


def _of(model: type[BaseModel], request: Mapping[str, Any]) -> dict[str, Any]:
    """The part of a request that `model` describes; MONAI Label adds keys of its own."""
    return {key: value for key, value in request.items() if key in model.model_fields}
