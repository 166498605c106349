"""A page in a headless Chromium, steered through its DevTools, while a script or a test needs it."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import shutil
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import Any

import aiohttp

from custom.errors import InputError
from scripts.child import Child

__all__ = ["Browser", "find_chromium"]


def find_chromium() -> str | None:
    """The program of Chromium or Chrome; None where there is none."""
    return next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


class Browser:
    """Context manager: one page of a browser that reaches this machine alone and draws 3D pictures on the processor.

    Args:
        size: (width, height) of the page in pixels.
        patience: seconds to wait for anything.

    Raises:
        InputError: Chromium is not installed, or does not start.
    """

    def __init__(self, size: tuple[int, int] = (1280, 720), patience: float = 300.0) -> None:
        self.size = size
        self.patience = patience
        self._number = 0

    def __enter__(self) -> Browser:
        program = find_chromium()
        if program is None:
            raise InputError("Chromium is not installed: apt-get install chromium")
        self._folder = tempfile.TemporaryDirectory(prefix="browser_", ignore_cleanup_errors=True)
        options = [
            "--headless",
            "--remote-debugging-port=0",
            f"--user-data-dir={self._folder.name}",
            f"--window-size={self.size[0]},{self.size[1]}",
            "--no-first-run",
            "--disable-dev-shm-usage",
            "--use-angle=swiftshader",
            "--enable-unsafe-swiftshader",
            "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
        ]
        if os.geteuid() == 0:
            options.append("--no-sandbox")  # Chromium's own sandbox refuses to run as root
        self._child = Child([program, *options, "about:blank"])
        self._loop = asyncio.new_event_loop()
        try:
            self._loop.run_until_complete(self._connect())
        except BaseException:
            self.__exit__(None, None, None)
            raise
        self.call("Page.enable")
        width, height = self.size
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        if hasattr(self, "_session"):
            self._loop.run_until_complete(self._session.close())
        self._loop.close()
        self._child.stop()
        self._folder.cleanup()

    async def _connect(self) -> None:
        file = Path(self._folder.name, "DevToolsActivePort")
        end = time.monotonic() + self.patience
        while not (file.is_file() and file.read_text().count("\n")):
            if time.monotonic() > end or self._child.process.poll() is not None:
                raise InputError("Chromium did not start; start it by hand to see the reason")
            await asyncio.sleep(0.1)
        self._session = aiohttp.ClientSession()
        port = file.read_text().split()[0]
        async with self._session.get(f"http://127.0.0.1:{port}/json/list") as answer:
            (page,) = [target for target in await answer.json() if target["type"] == "page"]
        self._socket = await self._session.ws_connect(page["webSocketDebuggerUrl"], max_msg_size=0)

    def call(self, method: str, **arguments: Any) -> dict[str, Any]:
        """The result of a method of DevTools.

        Raises:
            RuntimeError: the browser refuses it.
            TimeoutError: it takes longer than `patience`.
        """
        return self._loop.run_until_complete(asyncio.wait_for(self._call(method, arguments), self.patience))

    async def _call(self, method: str, arguments: dict[str, Any]) -> dict[str, Any]:
        self._number += 1
        await self._socket.send_json({"id": self._number, "method": method, "params": arguments})
        while True:  # events come in between
            answer = await self._socket.receive_json()
            if answer.get("id") == self._number:
                if "error" in answer:
                    raise RuntimeError(f"{method}: {answer['error']['message']}")
                return answer["result"]

    def open(self, address: str) -> None:
        """Go to an address; what the page does there is not waited for."""
        self.call("Page.navigate", url=address)

    def evaluate(self, expression: str) -> Any:
        """The value of an expression of JavaScript in the page; a promise is waited for.

        Raises:
            RuntimeError: it throws an error.
        """
        answer = self.call("Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True)
        if "exceptionDetails" in answer:
            raise RuntimeError(json.dumps(answer["exceptionDetails"])[:500])
        return answer["result"].get("value")

    def wait_for(self, expression: str) -> Any:
        """The value of an expression as soon as it is true.

        Raises:
            TimeoutError: it does not become true within `patience`.
        """
        end = time.monotonic() + self.patience
        while time.monotonic() < end:
            try:
                if found := self.evaluate(expression):
                    return found
            except RuntimeError:  # the page is not there yet
                pass
            time.sleep(0.5)
        raise TimeoutError(f"not true after {self.patience:g} seconds: {expression}")

    def picture(self) -> bytes:
        """The page as PNG."""
        return base64.b64decode(self.call("Page.captureScreenshot", format="png")["data"])
