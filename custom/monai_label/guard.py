"""A check before MONAI Label's endpoints: what a request may contain. Errors are answered in one line."""

from __future__ import annotations

import logging
import shutil
import tempfile
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from fastapi import FastAPI, HTTPException
from fastapi.exceptions import RequestValidationError
from monailabel.config import settings
from monailabel.interfaces.app import MONAILabelApp
from monailabel.interfaces.exception import ImageNotFoundException, LabelNotFoundException, MONAILabelException
from monailabel.interfaces.utils.app import app_instance
from pydantic import BaseModel, ConfigDict, Field
from starlette.datastructures import FormData, UploadFile
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse
from starlette.routing import compile_path
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from custom.error_causes import find_input_error
from custom.errors import InputError, one_line
from custom.monai_label.allowed import (
    ActiveLearningOptions,
    BatchOptions,
    InferOptions,
    Info,
    Json,
    LabelUpload,
    Name,
    ScoringOptions,
    TrainOptions,
    Upload,
    WSIOptions,
    check_options,
    parse_json,
    per_model,
)

__all__ = ["RequestGuard", "install_guard"]

logger = logging.getLogger(__name__)

LARGEST_BODY = 1 << 30
"""Bytes of the largest request that is read."""

_IN_MEMORY = 1 << 23  # bytes of a request that are kept in memory; more goes to a temporary file

Session = Annotated[str, Field(pattern=r"^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$")]
Checksum = Annotated[str, Field(pattern=r"^((SHA256|SHA512|MD5):)?[0-9A-Fa-f]{1,128}$")]
Nothing = Literal[""]


class Query(BaseModel):
    """Text after the `?` of an address, or fields of a form."""

    model_config = ConfigDict(extra="forbid", arbitrary_types_allowed=True)


class StatusQuery(Query):
    all: bool = False
    check_if_running: bool = False


class RunQuery(Query):
    run_sync: bool = False


class TrainQuery(RunQuery):
    enqueue: bool = False


class BatchQuery(RunQuery):
    images: Literal["all", "labeled", "unlabeled"] = "all"


class InferQuery(Query):
    image: Name | Nothing = ""
    session_id: Session | Nothing = ""
    output: Literal["image", "json", "all", "dicom_seg"] | None = None


class WSIQuery(InferQuery):
    output: Literal["asap", "dsa", "json"] | None = None


class DatastoreQuery(Query):
    output: Literal["train", "stats", "all"] | None = None


class UploadQuery(Query):
    image: Name | Nothing = ""


class ImageQuery(Query):
    image: Name


class CheckImageQuery(ImageQuery):
    check_sum: Checksum | None = None


class RemoveImageQuery(Query):
    id: Name


class SaveLabelQuery(ImageQuery):
    tag: Name | Nothing = ""


class LabelQuery(Query):
    label: Name
    tag: Name


class CheckLabelQuery(ImageQuery):
    tag: Name


class RemoveLabelQuery(RemoveImageQuery):
    tag: Name


class DatasetQuery(Query):
    limit_cases: Annotated[int, Field(ge=1, lt=2**31)] | None = None


class SessionQuery(Query):
    update_ts: bool = False
    image: bool = False


class NewSessionQuery(Query):
    uncompress: Literal["false", "False", "0"] = "false"  # archives are not taken
    expiry: Annotated[int, Field(ge=0, lt=2**31)] = 0
    client_id: str = ""


class LogQuery(Query):
    lines: Annotated[int, Field(ge=0, le=1_000_000)] = 300
    html: bool = True
    text: bool = False
    refresh: Annotated[int, Field(ge=0, le=86_400)] = 0


class InferForm(Query):
    params: Json[InferOptions] = InferOptions()
    file: Upload | None = None


class WSIForm(Query):
    wsi: Json[WSIOptions] = WSIOptions()
    file: Upload | None = None


class UploadForm(Query):
    params: Info = {}
    file: Upload


class LabelForm(Query):
    params: Info = {}
    label: LabelUpload


class InfoForm(Query):
    info: Info = {}


class OldInfoForm(Query):
    params: Info = {}


class NewSessionForm(Query):
    files: Upload
    client_id: str = ""
    expiry: str = ""
    uncompress: str = ""


def _json_of(model: type[BaseModel]) -> Callable[[Any, Collection[str]], None]:
    return lambda values, _: check_options(model, values) and None


@dataclass(frozen=True)
class Endpoint:
    """What a request to an address may contain.

    Attributes:
        query: what may stand after the `?`.
        form: fields and files of its form; None if it takes none.
        body: check of its JSON with the names that the server knows; None if it takes none.
        known: names that the last part of the address may have, taken from the app; None for any.
    """

    query: type[Query] = Query
    form: type[Query] | None = None
    body: Callable[[Any, Collection[str]], None] | None = None
    known: Callable[[MONAILabelApp], Collection[str]] | None = None


def _models(app: MONAILabelApp) -> Collection[str]:
    return app._infers


def _trainers(app: MONAILabelApp) -> Collection[str]:
    return app._trainers


def _strategies(app: MONAILabelApp) -> Collection[str]:
    return app._strategies


def _scorings(app: MONAILabelApp) -> Collection[str]:
    return app._scoring_methods


_PAGE = Endpoint()
_INFO = {"GET": Endpoint(LabelQuery), "PUT": Endpoint(LabelQuery, InfoForm)}
_STATUS = {"GET": Endpoint(StatusQuery), "DELETE": _PAGE}
_SAVE_IMAGE, _REMOVE_IMAGE = Endpoint(UploadQuery, UploadForm), Endpoint(RemoveImageQuery)

OFFERED: dict[str, dict[str, Endpoint]] = {
    "/info/": {"GET": _PAGE},
    "/train/": {**_STATUS, "POST": Endpoint(RunQuery, body=per_model(TrainOptions), known=_trainers)},
    "/train/{model}": {"POST": Endpoint(TrainQuery, body=_json_of(TrainOptions), known=_trainers)},
    "/scoring/": {**_STATUS, "POST": Endpoint(RunQuery, body=per_model(ScoringOptions), known=_scorings)},
    "/scoring/{method}": {"POST": Endpoint(RunQuery, body=_json_of(ScoringOptions), known=_scorings)},
    "/activelearning/{strategy}": {"POST": Endpoint(body=_json_of(ActiveLearningOptions), known=_strategies)},
    "/infer/{model}": {"POST": Endpoint(InferQuery, InferForm, known=_models)},
    "/infer/wsi/{model}": {"POST": Endpoint(WSIQuery, body=_json_of(WSIOptions), known=_models)},
    "/infer/wsi_v2/{model}": {"POST": Endpoint(WSIQuery, WSIForm, known=_models)},
    "/batch/infer": _STATUS,
    "/batch/infer/{model}": {"POST": Endpoint(BatchQuery, body=_json_of(BatchOptions), known=_models)},
    "/datastore/": {"GET": Endpoint(DatastoreQuery), "PUT": _SAVE_IMAGE, "DELETE": _REMOVE_IMAGE},
    "/datastore/image": {
        "GET": Endpoint(ImageQuery),
        "HEAD": Endpoint(CheckImageQuery),
        "PUT": _SAVE_IMAGE,
        "DELETE": _REMOVE_IMAGE,
    },
    "/datastore/image/info": {"GET": Endpoint(ImageQuery), "PUT": Endpoint(ImageQuery, InfoForm)},
    "/datastore/label": {
        "GET": Endpoint(LabelQuery),
        "HEAD": Endpoint(CheckLabelQuery),
        "PUT": Endpoint(SaveLabelQuery, LabelForm),
        "DELETE": Endpoint(RemoveLabelQuery),
    },
    "/datastore/label/info": _INFO,
    "/datastore/updatelabelinfo": {"PUT": Endpoint(LabelQuery, OldInfoForm)},
    "/datastore/dataset": {"GET": Endpoint(DatasetQuery)},
    "/session/": {"PUT": Endpoint(NewSessionQuery, NewSessionForm)},
    "/session/{session_id}": {"GET": Endpoint(SessionQuery), "DELETE": _PAGE},
    "/model/{model}": {"GET": Endpoint(known=_models)},
    "/model/info/{model}": {"GET": Endpoint(known=_models)},
    "/logs/": {"GET": Endpoint(LogQuery)},
    "/logs/gpu": {"GET": _PAGE},
}
"""Addresses of MONAI Label that this app offers, with what they take.

Left out are those which replace a model by an upload (`PUT` and `DELETE /model/`) and which build the app anew
(`/reload`).
"""

OPEN = ("/", "/docs", "/docs/oauth2-redirect", "/openapi.json", "/favicon.ico")
"""Pages that take nothing."""

OPEN_BELOW = ("/static/", "/ohif/", "/auth/")
"""Beginnings of addresses that neither the models nor the datastore see."""

_PATTERNS = [(compile_path(path)[0], path) for path in OFFERED]


class RequestGuard:
    """ASGI middleware that lets through what `OFFERED` describes and answers everything else with one line.

    An answer has status 400 for a request that is wrong, 404 for what is not there, 405 and 413 as usual. Whatever an
    endpoint raises is answered in one line too: `InputError` with 400, anything unexpected with 500.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Check a request, then pass it on."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        started = False

        async def note_and_send(message: Message) -> None:
            nonlocal started
            started = True
            await send(message)

        with tempfile.SpooledTemporaryFile(_IN_MEMORY) as body:
            try:
                await self.app(scope, await _checked(scope, receive, body), note_and_send)
            except ClientDisconnect:
                raise
            except Exception as error:
                if started:
                    raise
                await _answer(error)(scope, receive, send)


def install_guard(server: FastAPI) -> None:
    """Put the guard before the endpoints of a server that is starting, after its rules for other origins."""
    if any(middleware.cls is RequestGuard for middleware in server.user_middleware):
        return
    server.user_middleware.append(Middleware(RequestGuard))
    server.add_exception_handler(RequestValidationError, _answer_validation)
    server.middleware_stack = None  # is built again for the first request


async def _checked(scope: Scope, receive: Receive, body: tempfile.SpooledTemporaryFile) -> Receive:
    """Check a request; returns what gives its body once more."""
    path = _path(scope)
    if path in OPEN or path.startswith(OPEN_BELOW) or (path.startswith("/proxy/") and _is_remote(app_instance())):
        return receive
    if _needs_slash(path):
        return receive  # is answered with the right address
    endpoint, parts = _find(path, scope["method"])
    _check_parts(path, parts, endpoint)
    request = Request(scope, receive)
    check_options(endpoint.query, _single(request.query_params.multi_items(), "the address"), "the address")
    if endpoint.form is None and endpoint.body is None:
        return receive
    await _read(request, body)
    uploaded = await (_check_json(endpoint, body) if endpoint.body is not None else _check_form(endpoint, scope, body))
    if path.startswith("/infer/"):
        _check_image(request.query_params, uploaded)
    return _replay(body, receive)


def _path(scope: Scope) -> str:
    """The address of a request as this module's tables write it."""
    path = scope["path"]
    for prefix in (scope.get("root_path", ""), settings.MONAI_LABEL_API_STR):
        path = path.removeprefix(prefix) if prefix and path.startswith(f"{prefix}/") else path
    return path


def _is_remote(app: MONAILabelApp) -> bool:
    return app.studies.startswith(("http://", "https://"))


def _needs_slash(path: str) -> bool:
    return not _is_offered(path) and _is_offered(path.removesuffix("/") if path.endswith("/") else f"{path}/")


def _is_offered(path: str) -> bool:
    return any(pattern.match(path) for pattern, _ in _PATTERNS)


def _find(path: str, method: str) -> tuple[Endpoint, dict[str, str]]:
    for pattern, name in _PATTERNS:
        if match := pattern.match(path):
            if method not in OFFERED[name]:
                raise HTTPException(405, f"{method} is not offered here")
            return OFFERED[name][method], match.groupdict()
    raise HTTPException(404, "this server offers no such address")


def _check_parts(path: str, parts: Mapping[str, str], endpoint: Endpoint) -> None:
    if "session_id" in parts:
        check_options(InferQuery, parts)
    if path == "/logs/gpu" and shutil.which("nvidia-smi") is None:
        raise HTTPException(404, "this server has no program nvidia-smi")
    if parts and endpoint.known is not None:
        ((kind, name),) = parts.items()
        known = endpoint.known(app_instance())
        if name not in known:
            raise HTTPException(404, f"there is no {kind} {name[:60]!r}; there are: {', '.join(known) or 'none'}")


def _single(items: list[tuple[str, Any]], what: str) -> dict[str, Any]:
    values = dict(items)
    if len(values) < len(items):
        raise InputError(f"{what} holds a key twice; send it once")
    return values


async def _read(request: Request, body: tempfile.SpooledTemporaryFile) -> None:
    async for chunk in request.stream():
        body.write(chunk)
        if body.tell() > LARGEST_BODY:
            raise HTTPException(413, f"the request has more than {LARGEST_BODY} bytes; send less")
    body.seek(0)


async def _check_json(endpoint: Endpoint, body: tempfile.SpooledTemporaryFile) -> bool:
    """Check the JSON of a request; returns whether a file came with it, which is never so."""
    content = body.read()
    values = parse_json(content) if content else None
    if values is not None:
        endpoint.body(values, endpoint.known(app_instance()))
    return False


async def _check_form(endpoint: Endpoint, scope: Scope, body: tempfile.SpooledTemporaryFile) -> bool:
    """Check the form of a request; returns whether a file came with it."""
    kind = Request(scope).headers.get("content-type", "").split(";")[0].strip().lower()
    if body.read(1) and kind not in ("multipart/form-data", "application/x-www-form-urlencoded"):
        raise HTTPException(400, "this address takes a form; send multipart/form-data")
    form = await _parse_form(Request(scope, _replay(body, _nothing_more)))
    try:
        check_options(endpoint.form, _single(form.multi_items(), "the form"), "the form")
        return any(isinstance(value, UploadFile) for value in form.values())
    finally:
        await form.close()


async def _parse_form(request: Request) -> FormData:
    try:
        return await request.form()
    except Exception as error:  # Starlette and its parser raise many kinds of errors for broken forms
        raise HTTPException(400, "the form cannot be read; send multipart/form-data with its boundary") from error


def _check_image(query: Mapping[str, str], uploaded: bool) -> None:
    app = app_instance()
    if query.get("session_id") and app.sessions() is None:
        raise HTTPException(400, "this server keeps no sessions; send the image's name or the image")
    if query.get("output") == "dicom_seg" and not _is_remote(app):
        raise HTTPException(400, "DICOM-SEG is for DICOM images; ask for the output image, json or all")
    if not (uploaded or query.get("image") or query.get("session_id")):
        raise HTTPException(400, "no image: name one of the datastore, a session, or send a file")


def _replay(body: tempfile.SpooledTemporaryFile, afterwards: Receive) -> Receive:
    """What gives a body that was read once more, and then what `afterwards` gives."""
    body.seek(0)
    ended = False

    async def receive() -> Message:
        nonlocal ended
        if ended:
            return await afterwards()
        chunk = body.read(1 << 20)
        ended = not chunk
        return {"type": "http.request", "body": chunk, "more_body": not ended}

    return receive


async def _nothing_more() -> Message:
    return {"type": "http.disconnect"}


def _answer(error: Exception) -> JSONResponse:
    status, text = 500, "the server failed; its log holds the reason"
    found = find_input_error(error)
    if isinstance(error, HTTPException):
        status, text = error.status_code, error.detail
    elif found is not None:
        status, text = 400, str(found)
    elif isinstance(error, (ImageNotFoundException, LabelNotFoundException)):
        status, text = 404, error.msg
    elif isinstance(error, MONAILabelException):
        status, text = 400, error.msg
    else:
        logger.error("a request failed", exc_info=error)
    return JSONResponse({"detail": _one_line(text)}, status)


async def _answer_validation(_: Request, error: RequestValidationError) -> JSONResponse:
    first = error.errors()[0]
    key = ".".join(str(part) for part in first["loc"])
    return JSONResponse({"detail": _one_line(f"{key}: {first['msg']}")}, 400)


def _one_line(text: Any) -> str:
    return one_line(" ".join(str(text).split()))
