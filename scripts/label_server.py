"""A MONAI Label server in a process of its own, at 127.0.0.1, while a script or a test needs it."""

from __future__ import annotations

import json
import os
import socket
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from types import TracebackType
from typing import Any

from custom.errors import InputError
from scripts.child import Child

__all__ = ["LabelServer", "free_port"]


class LabelServer:
    """Context manager: starts `monailabel start_server` and waits until it answers; stops it at the end.
    It never outlives this process, see `Child`.

    Args:
        app: folder of the app.
        studies: folder of the images.
        options: further options of `start_server`.
        patience: seconds to wait for the first answer.

    Attributes:
        url: where the server listens.
        log: file with the output of the server and its trainings; a second server of the same app adds to it.

    Raises:
        InputError: MONAI Label is not installed beside this Python, or the server ends instead of starting.
    """

    def __init__(self, app: Path, studies: Path, options: tuple[str, ...] = (), patience: float = 180.0) -> None:
        self.app = Path(app)
        self.studies = Path(studies)
        self.options = options
        self.patience = patience
        self.log = self.app / "server.log"
        self.url = f"http://127.0.0.1:{free_port()}"

    def __enter__(self) -> LabelServer:
        program = Path(sys.executable).with_name("monailabel")
        if not program.is_file():
            raise InputError(f"{program} is missing: install MONAI Label there, see requirements-monai-label.txt")
        port = self.url.rsplit(":", 1)[1]
        command = [program, "start_server", "--app", self.app, "--studies", self.studies, "--host", "127.0.0.1"]
        environment = {**os.environ, "PATH": f"{program.parent}{os.pathsep}{os.environ['PATH']}", "PYTHONPATH": ""}
        with open(self.log, "a") as log:
            self.child = Child([*map(str, command), "--port", port, *self.options], log, environment)
        self._wait()
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self.stop()

    def _wait(self) -> None:
        end = time.monotonic() + self.patience
        while time.monotonic() < end and self.child.process.poll() is None:
            try:
                self.get("/info/")
                return
            except urllib.error.URLError:
                time.sleep(0.5)
        self.stop()
        raise InputError(f"the server of {self.app} did not start; see {self.log} for the reason")

    def get(self, path: str) -> Any:
        """The JSON answer to a GET request."""
        with urllib.request.urlopen(self.url + path) as answer:
            return json.load(answer)

    def post(self, path: str, content: dict[str, Any] | None = None) -> Any:
        """The JSON answer to a POST request with JSON content."""
        request = urllib.request.Request(
            self.url + path, json.dumps(content or {}).encode(), {"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request) as answer:
            return json.load(answer)

    def score(self, model: str) -> None:
        """Score all images, once the scoring that the last training started has ended."""
        while True:
            try:
                self.post(f"/scoring/{model}?run_sync=true", {"device": "cpu"})
                return
            except urllib.error.HTTPError as error:
                if error.code != 429:
                    raise
                time.sleep(0.5)

    def stop(self, kill: bool = False) -> None:
        """End the server and the processes it started; with `kill` at once, as in a power failure."""
        self.child.stop(kill)


def free_port() -> int:
    """A port of this machine on which nothing listens."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]
