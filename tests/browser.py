"""A real browser for tests: headless Chromium, spoken to through ChromeDriver (the WebDriver protocol)."""

import base64
import json
import shutil
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-sync",
    "--disable-component-update",
    "--use-gl=angle",
    "--use-angle=swiftshader",
    "--enable-unsafe-swiftshader",
    "--hide-scrollbars",
    "--window-size=1100,760",
)
ELEMENT = "element-6066-11e4-a52e-4f735466cecf"
PATIENCE = 300  # seconds; browsers are slow on a busy machine


def missing_browser() -> str | None:
    """Why there is no browser; None where there is one."""
    lacking = [name for name in ("chromium", "chromedriver") if shutil.which(name) is None]
    return f"no {' and no '.join(lacking)} on this machine" if lacking else None


class Browser:
    """One window.

    Args:
        address: of the driver's session.
    """

    def __init__(self, address: str) -> None:
        self.address = address

    def _ask(self, path: str, value: dict[str, Any] | None = None, method: str = "POST") -> Any:
        data = None if method in ("GET", "DELETE") else json.dumps(value or {}).encode()
        return _request(f"{self.address}{path}", data, method)

    def open(self, page: Path) -> None:
        self._ask("/url", {"url": page.resolve().as_uri()})

    def run(self, script: str) -> Any:
        """What a function body returns."""
        return self._ask("/execute/sync", {"script": script, "args": []})

    def wait(self, script: str) -> Any:
        """Run until the result is true."""
        end = time.monotonic() + PATIENCE
        while not (found := self.run(script)):
            assert time.monotonic() < end, f"never true: {script}"
            time.sleep(0.05)
        return found

    def click(self, css: str) -> None:
        element = self._ask("/element", {"using": "css selector", "value": css})
        self._ask(f"/element/{element[ELEMENT]}/click")

    def drag(self, start: tuple[int, int], by: tuple[int, int]) -> None:
        (x, y), (dx, dy) = start, by
        steps = [
            {"type": "pointerMove", "x": x, "y": y},
            {"type": "pointerDown", "button": 0},
            {"type": "pointerMove", "x": x + dx, "y": y + dy},
            {"type": "pointerUp", "button": 0},
        ]
        self._ask("/actions", {"actions": [{"type": "pointer", "id": "mouse", "actions": steps}]})

    def wheel(self, at: tuple[int, int], by: int) -> None:
        step = {"type": "scroll", "x": at[0], "y": at[1], "deltaX": 0, "deltaY": by}
        self._ask("/actions", {"actions": [{"type": "wheel", "id": "wheel", "actions": [step]}]})

    def screenshot(self) -> bytes:
        return base64.b64decode(self._ask("/screenshot", method="GET"))

    def errors(self) -> list[str]:
        """What the page complained about."""
        logs = self._ask("/se/log", {"type": "browser"})
        return [entry["message"] for entry in logs if entry["level"] == "SEVERE"]


def _request(address: str, data: bytes | None, method: str) -> Any:
    request = urllib.request.Request(address, data, {"Content-Type": "application/json"}, method=method)
    with urllib.request.urlopen(request, timeout=PATIENCE) as reply:
        return json.loads(reply.read())["value"]


@contextmanager
def open_browser(folder: Path) -> Iterator[Browser]:
    """Start a browser whose files lie in ``folder``, and end it."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    root = f"http://127.0.0.1:{port}"
    driver = subprocess.Popen(
        ["chromedriver", f"--port={port}"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        end = time.monotonic() + PATIENCE
        while True:
            try:
                if _request(f"{root}/status", None, "GET")["ready"]:
                    break
            except OSError:
                assert driver.poll() is None and time.monotonic() < end, "chromedriver did not start"
            time.sleep(0.05)
        options = {"binary": shutil.which("chromium"), "args": [*FLAGS, f"--user-data-dir={folder}"]}
        wanted = {"goog:chromeOptions": options, "goog:loggingPrefs": {"browser": "ALL"}}
        wanted["timeouts"] = {"pageLoad": 1000 * PATIENCE, "script": 1000 * PATIENCE}
        body = json.dumps({"capabilities": {"alwaysMatch": wanted}}).encode()
        session = _request(f"{root}/session", body, "POST")["sessionId"]
        browser = Browser(f"{root}/session/{session}")
        try:
            yield browser
        finally:
            _request(browser.address, None, "DELETE")
    finally:
        driver.terminate()
        driver.wait()
