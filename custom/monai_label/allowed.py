"""What a request to the server may contain: every key with its type and range. All else is refused in one line."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Annotated, Any, Literal, TypeVar

import torch
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator
from starlette.datastructures import UploadFile

from custom.command_line import EVALUATED
from custom.errors import InputError
from custom.monai_label.names import LABEL_SUFFIXES, STORED_SUFFIXES, check_name, check_upload
from custom.wording import shown

__all__ = [
    "ActiveLearningOptions",
    "BatchOptions",
    "Info",
    "InferOptions",
    "Json",
    "LabelUpload",
    "Name",
    "ScoringOptions",
    "TrainOptions",
    "Upload",
    "WSIOptions",
    "check_conf",
    "check_data",
    "check_options",
    "parse_json",
    "per_model",
    "refuse_expressions",
]

SERVER_KEYS = {"id", "path", "strategy", "disagreement", "ts"}
"""What the server notes about an image or label and reads again."""

DEEPEST = 20  # levels of lists and objects in JSON
MOST_TEXT = 200  # characters of a text option

Model = TypeVar("Model", bound=BaseModel)


def check_data(value: Any, depth: int = 0) -> Any:
    """Refuse JSON that cannot be stored and answered again.

    Raises:
        InputError: text that is no Unicode, numbers that are not finite or too large, or too many levels.
    """
    if depth > DEEPEST:
        raise InputError(f"the JSON has more than {DEEPEST} levels; send less")
    if isinstance(value, str) and not _is_unicode(value):
        raise InputError(f"{value[:60]!r} is no Unicode text; send UTF-8")
    if isinstance(value, float) and not math.isfinite(value):
        raise InputError("the JSON holds NaN or an infinite number; send finite numbers")
    if isinstance(value, int) and abs(value) >= 2**63:
        raise InputError("the JSON holds a number of more than 63 bits; send a smaller one")
    if isinstance(value, Mapping):
        for key, item in value.items():
            check_data(key)
            check_data(item, depth + 1)
    if isinstance(value, list):
        for item in value:
            check_data(item, depth + 1)
    return value


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:  # half of a surrogate pair
        return False
    return True


def refuse_expressions(value: Any, key: str) -> None:
    """Refuse data that MONAI's configuration would evaluate: texts and keys, at any depth.

    Raises:
        InputError: a text starts with `$`, `@` or `%`, or holds one of MONAI's relative references.
    """
    if isinstance(value, str):
        if value.startswith(EVALUATED) or re.search("[@%]#", value) or value.startswith(("import ", "from ")):
            raise InputError(f"{key} is {value[:60]!r}, which would be evaluated; give plain text")
    elif isinstance(value, Mapping):
        if "_target_" in value:
            raise InputError(f"{key} holds the key '_target_', which would be evaluated; give plain data")
        for name, item in value.items():
            refuse_expressions(name, key)
            refuse_expressions(item, key)
    elif isinstance(value, (list, tuple)):
        for item in value:
            refuse_expressions(item, key)


def parse_json(text: str | bytes) -> Any:
    """JSON of a request, checked by `check_data`.

    Raises:
        InputError: it is no JSON.
    """
    try:
        return check_data(json.loads(text))
    except (ValueError, RecursionError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError("the request holds no valid JSON; correct it") from error


def check_options(model: type[Model], values: Any, what: str = "the request") -> Model:
    """The checked values.

    Args:
        model: what may be there.
        values: a mapping from a request.
        what: names the values in the message.

    Raises:
        InputError: the first thing that is wrong, in one line.
    """
    if not isinstance(values, Mapping):
        raise InputError(f"{what} is no JSON object; send keys and values")
    try:
        return model.model_validate(values)
    except ValidationError as error:
        raise InputError(_first(error, model, what)) from error


def _first(error: ValidationError, model: type[BaseModel], what: str) -> str:
    fault = error.errors(include_url=False)[0]
    key = ".".join(str(part)[:60] for part in fault["loc"]) or what
    if fault["type"] == "extra_forbidden":
        names = ", ".join(sorted(field.alias or name for name, field in model.model_fields.items())) or "none"
        return f"{what} holds {key!r}, which is not offered; keys are: {names}"
    if fault["type"] == "missing":
        return f"{what} lacks {key}; send it"
    reason = str(fault.get("ctx", {}).get("error") or fault["msg"])
    return f"{key} is {shown(getattr(fault['input'], 'filename', fault['input']), 80)}: {reason}"


def _plain_text(text: str) -> str:
    if text.startswith(EVALUATED):
        raise InputError(f"text must not start with one of {' '.join(EVALUATED)}")
    if not text.isprintable():
        raise InputError("text must be one line of visible characters")
    return text


def _first_choice(value: Any) -> Any:
    """The first of a list of choices: clients send back what the server's description offers."""
    return value[0] if isinstance(value, list) and value else value


def _refuse_destination(_: str) -> str:
    raise InputError("the server's own setting decides where it writes; leave this empty")


def _known_device(device: str) -> str:
    if device in _devices():
        return device
    raise InputError(f"the server has no such device; give one of {', '.join(_devices())}")


def _devices() -> list[str]:
    """Names of this machine's devices, and those that MONAI Label gives them."""
    count = torch.cuda.device_count()
    names = [torch.cuda.get_device_name(number) for number in range(count)]
    published = names if count == 1 else [f"{name}:{number}" for number, name in enumerate(names)]
    return ["cpu", "cuda", *(f"cuda:{number}" for number in range(count)), *published]


def _known_gpus(gpus: str) -> str:
    count = max(1, torch.cuda.device_count())
    if gpus != "all" and not all(re.fullmatch(r"\d{1,3}", gpu) and int(gpu) < count for gpu in gpus.split(",")):
        raise InputError("give 'all' or numbers of GPUs such as 0,1 that the server has")
    return gpus


def _no_server_keys(info: dict[str, Any]) -> dict[str, Any]:
    taken = sorted(SERVER_KEYS & info.keys())
    if taken:
        raise InputError(f"the server itself writes {', '.join(taken)}; leave them out")
    return info


def _json_object(value: Any) -> Any:
    return parse_json(value) if isinstance(value, (str, bytes)) and value else value or {}


def _checked(file: UploadFile, suffixes: Sequence[str]) -> UploadFile:
    check_upload(file.filename, suffixes)
    return file


Text = Annotated[str, Field(max_length=MOST_TEXT), AfterValidator(_plain_text)]
Name = Annotated[str, AfterValidator(check_name)]
Upload = Annotated[UploadFile, AfterValidator(lambda file: _checked(file, STORED_SUFFIXES))]
LabelUpload = Annotated[UploadFile, AfterValidator(lambda file: _checked(file, LABEL_SUFFIXES))]
Device = Annotated[str, AfterValidator(_known_device), BeforeValidator(_first_choice)]
Gpus = Annotated[str, AfterValidator(_known_gpus)]
Level = Literal["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"]
Coordinate = Annotated[int, Field(gt=-(2**31), lt=2**31)]
Points = Annotated[list[Annotated[list[Coordinate], Field(min_length=2, max_length=3)]], Field(max_length=10_000)]
Json = Annotated[Model, BeforeValidator(_json_object)]
Info = Annotated[dict[str, Any], BeforeValidator(_json_object), AfterValidator(_no_server_keys)]
Epochs = Annotated[int, Field(ge=1, le=100_000)]
ModelFile = Annotated[Literal["model.pt"], BeforeValidator(_first_choice)]


class Options(BaseModel):
    """JSON values: of the right type, not merely convertible. Empty ones mean the default, as clients fill forms."""

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False, arbitrary_types_allowed=True)

    client_id: Text | None = None

    @model_validator(mode="before")
    @classmethod
    def _leave_out_empty(cls, values: Any) -> Any:
        if not isinstance(values, Mapping):
            return values
        return {key: value for key, value in values.items() if key not in cls.model_fields or value not in ("", None)}

    def given(self) -> dict[str, Any]:
        """The values that were given and not left empty."""
        return self.model_dump(exclude_unset=True)


class DeviceOptions(Options):
    """The device of a task, and what it logs."""

    device: Device | None = None
    multi_gpu: bool | None = None
    gpus: Gpus | None = None
    logging: Level | None = None


class TrainOptions(DeviceOptions):
    """What a training request may contain."""

    max_epochs: Epochs | None = None
    alignment_epochs: Epochs | None = None
    pretrained: bool | None = None
    use_unlabelled: bool | None = None
    mlflow: bool | None = None
    seed: Annotated[int, Field(ge=0, lt=2**32)] | None = None
    learning_rate: Annotated[float, Field(gt=0, le=10)] | None = None
    val_split: Annotated[float, Field(ge=-1, lt=1)] | None = None
    tracking: Annotated[Literal["mlflow", "None", "none"], BeforeValidator(_first_choice)] | None = None
    tracking_uri: Annotated[str, AfterValidator(_refuse_destination)] | None = None
    tracking_experiment_name: Name | None = None
    tracking_run_name: Name | None = None
    run_id: Literal["run", "from_scratch"] | None = None
    model_filename: ModelFile | None = None


class InferOptions(DeviceOptions):
    """What the JSON of a request for a mask may contain."""

    model_filename: ModelFile | None = None
    label_tag: Name | None = None
    save_label: bool | None = None
    result_extension: (
        Literal[".png", ".bmp", ".tif", ".tiff", ".jpg", ".jpeg", ".nrrd", ".nii", ".nii.gz", ".mha"] | None
    ) = None
    result_dtype: Literal["uint8", "uint16", "int16", "int32", "float32"] | None = None
    result_compress: bool | None = None
    result_write_to_file: Literal[True] | None = None
    # For pictures: whether outlines are wanted, and which pieces of the mask.
    output: Literal["image", "json", "all", "asap", "dsa", "mask"] | None = None
    foreground: Points | None = None
    background: Points | None = None
    roi: Annotated[list[Coordinate], Field(max_length=6)] | None = None
    # What clients send to other kinds of models; it has no effect.
    restore_label_idx: bool | None = None
    reset_state: bool | None = None
    largest_cc: bool | None = None
    label: Text | None = None
    selected_label_name: Text | None = None
    label_info: list[Any] | dict[str, Any] | None = None
    label_prompt: list[int | Text] | None = None
    points: list[Any] | dict[str, Any] | None = None
    point_labels: list[int] | None = None
    slice: int | None = None
    max_workers: Annotated[int, Field(ge=0, le=64)] | None = None

    def used(self) -> dict[str, Any]:
        """The values that reach the model's transforms."""
        keys = {"device", "logging", "model_filename", "result_extension", "result_dtype", "result_compress"}
        return self.model_dump(include=keys | {"output", "foreground", "background", "roi"}, exclude_none=True)


Pair = Annotated[list[Annotated[int, Field(ge=0, lt=2**31)]], Field(min_length=2, max_length=2)]


class WSIOptions(Options):
    """What a request for a region of a slide may contain.

    The models of this app predict the whole image at its full resolution; pieces outside of the region are left out.
    """

    level: Annotated[int, Field(ge=0, le=100)] | None = None
    location: Pair | None = None
    size: Pair | None = None
    tile_size: Pair | None = None
    min_poly_area: Annotated[int, Field(ge=0, lt=2**31)] | None = None
    params: InferOptions | None = None


class BatchOptions(InferOptions):
    """What a request for masks of many images may contain."""

    images: Literal["all", "labeled", "unlabeled"] | list[Name] | None = None
    labels: list[Text] | None = None
    max_batch_size: Annotated[int, Field(ge=0, le=1_000_000)] | None = None


class ScoringOptions(DeviceOptions):
    """What a scoring request may contain."""


class ActiveLearningOptions(Options):
    """What a request for the next image may contain."""

    model: Name | None = None
    label_tag: Name | None = None
    labels: list[Text] | None = None
    # What QuPath sends for parts of slides; it has no effect.
    image: Name | None = None
    patch_size: list[int] | None = None
    image_size: list[int] | None = None


def per_model(model: type[Options]) -> Callable[[Any, Collection[str]], None]:
    """Check of options for all models: the same for each, or an object of options by name of the model."""

    def check(values: Any, names: Collection[str]) -> None:
        if not isinstance(values, Mapping):
            raise InputError("the request is no JSON object; send keys and values")
        for name in set(names) & values.keys():
            check_options(model, values[name], f"the request for {name}")
        check_options(model, {key: value for key, value in values.items() if key not in names})

    return check


class Conf(BaseModel):
    """What `--conf KEY VALUE` of `monailabel start_server` may set."""

    model_config = ConfigDict(extra="forbid")

    models: str = ""
    zoo_source: Literal["local"] = "local"
    preload: bool = False
    skip_trainers: bool = False
    sam2: bool = False
    server_mode: bool = False


def check_conf(conf: Mapping[str, str], bundles: Collection[str]) -> None:
    """Refuse options of the server that this app does not know.

    Args:
        conf: values by key, as text.
        bundles: names of the bundles in the app.

    Raises:
        InputError: an unknown key or bundle, or another kind of value.
    """
    names = check_options(Conf, conf, "--conf").models
    for name in filter(None, (name.strip() for name in names.split(","))):
        if name not in bundles:
            raise InputError(
                f"--conf models: there is no bundle {name[:60]!r} in model/; there are: {', '.join(bundles)}"
            )
