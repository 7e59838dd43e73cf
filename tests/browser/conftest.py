"""A headless Chromium, driven through a pipe by its DevTools protocol, which needs no library."""

import base64
import json
import os
import select
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
OPTIONS = [
    "--headless",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-extensions",
    "--remote-debugging-pipe",
]
# It reads from descriptor 3 and writes to 4, which may be other files here.
LAUNCHER = """
import fcntl, os, sys
pipes = [fcntl.fcntl(int(text), fcntl.F_DUPFD, 10) for text in sys.argv[1:3]]
for descriptor, pipe in zip((3, 4), pipes):
    os.dup2(pipe, descriptor)
os.execvp(sys.argv[3], sys.argv[3:])
"""
TIMEOUT = 60.0  # s
LOCAL = ("file:", "data:", "about:", "blob:")


class Chromium:
    """One page of a browser: what it asks of the network and what it says on its console is kept.

    The protocol: https://chromedevtools.github.io/devtools-protocol/, a null byte after each message.
    """

    def __init__(self, command: str, profile: Path) -> None:
        to_read, its_output = os.pipe()
        its_input, to_write = os.pipe()
        sandbox = ["--no-sandbox"] if getattr(os, "geteuid", lambda: 1)() == 0 else []
        line = [command, *OPTIONS, *sandbox, f"--user-data-dir={profile}", "about:blank"]
        self._process = subprocess.Popen(
            [sys.executable, "-ISc", LAUNCHER, str(its_input), str(its_output), *line],
            pass_fds=(its_input, its_output),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(its_input)
        os.close(its_output)
        self._read, self._write = to_read, to_write
        self._left, self._number, self._session = b"", 0, None
        self.requests: list[str] = []
        self.errors: list[str] = []
        self._events: set[str] = set()

    def start(self) -> None:
        """Make the page, and listen to it."""
        target = self._ask("Target.createTarget", url="about:blank")["targetId"]
        self._session = self._ask("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Network", "Runtime", "Log"):
            self._ask(f"{domain}.enable")

    def open(self, path: Path, dark: bool = False, width: int = 1100) -> None:
        """Open a file and wait until all of it is there."""
        scheme = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
        self._ask("Emulation.setEmulatedMedia", features=scheme)
        self._ask("Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=False)
        self.requests, self.errors, self._events = [], [], set()
        self._ask("Page.navigate", url=path.resolve().as_uri())
        self._until(lambda: "Page.loadEventFired" in self._events)
        self.evaluate("new Promise(done => setTimeout(done, 300))")  # for what comes after loading

    def evaluate(self, expression: str):
        """Value of an expression of JavaScript in the page."""
        answer = self._ask("Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True)
        return answer["result"].get("value")

    def screenshot(self, path: Path) -> None:
        """Save a picture of the whole page."""
        data = self._ask("Page.captureScreenshot", captureBeyondViewport=True)["data"]
        path.write_bytes(base64.b64decode(data))

    def close(self) -> None:
        self._process.terminate()
        self._process.wait(TIMEOUT)
        os.close(self._read)
        os.close(self._write)

    def _ask(self, method: str, **parameters) -> dict:
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._write, json.dumps(message).encode() + b"\0")
        answers: list[dict] = []
        self._until(lambda: bool(answers), answers, self._number)
        if "error" in answers[0]:
            raise RuntimeError(f"{method}: {answers[0]['error']}")
        return answers[0]["result"]

    def _until(self, is_over, answers=None, number=None) -> None:
        """Read messages until a condition holds."""
        deadline = time.monotonic() + TIMEOUT
        while not is_over():
            if not select.select([self._read], [], [], max(0.0, deadline - time.monotonic()))[0]:
                raise TimeoutError(f"no answer of Chromium within {TIMEOUT:g} s")
            data = os.read(self._read, 1 << 20)
            if not data:
                raise RuntimeError("Chromium has ended")
            *messages, self._left = (self._left + data).split(b"\0")
            for message in map(json.loads, messages):
                if answers is not None and message.get("id") == number:
                    answers.append(message)
                elif "method" in message:
                    self._notice(message["method"], message["params"])

    def _notice(self, method: str, event: dict) -> None:
        self._events.add(method)
        if method == "Network.requestWillBeSent" and not event["request"]["url"].startswith(LOCAL):
            self.requests.append(event["request"]["url"])
        elif method == "Runtime.consoleAPICalled" and event["type"] in ("error", "assert", "warning"):
            self.errors.append(str([argument.get("value") for argument in event["args"]]))
        elif method == "Runtime.exceptionThrown":
            self.errors.append(str(event["exceptionDetails"]))
        elif method == "Log.entryAdded" and event["entry"]["level"] in ("error", "warning"):
            self.errors.append(event["entry"]["text"])


@pytest.fixture(scope="module")
def chromium(tmp_path_factory):
    """Chromium, whose absence is a failure where ASLA_CHROMIUM names it."""
    wanted = os.environ.get("ASLA_CHROMIUM")
    command = shutil.which(wanted) if wanted else next(filter(None, map(shutil.which, NAMES)), None)
    if command is None:
        (pytest.fail if wanted else pytest.skip)(f"there is no {wanted or 'Chromium'}")
    browser = Chromium(command, tmp_path_factory.mktemp("profile"))
    try:
        browser.start()
        yield browser
    finally:
        browser.close()
