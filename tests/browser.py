"""A headless Chromium, driven over its own DevTools protocol by a pipe: no port, no driver."""

from __future__ import annotations

import base64
import json
import os
import select
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome")
PATIENCE = 120.0  # seconds
KEYS = {"Tab": 9}
FLAGS = (
    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--hide-scrollbars", "--remote-debugging-pipe",
)  # fmt: skip


class Browser:
    """One page."""

    def __init__(self, to: int, back: int) -> None:
        self._to, self._back, self._left, self._number = to, back, b"", 0
        self.errors: list[str] = []  # what the console said since `listen`
        target = self._ask("Target.createTarget", {"url": "about:blank"})["targetId"]
        attached = self._ask("Target.attachToTarget", {"targetId": target, "flatten": True})
        self._session = attached["sessionId"]
        self.ask("Page.enable")

    def ask(self, method: str, **given: Any) -> dict[str, Any]:
        """A command to the page, and its answer."""
        return self._ask(method, given, self._session)

    def open(self, url: str) -> None:
        """Go to an address and wait until it is there."""
        self.ask("Page.navigate", url=url)
        self.wait(f"document.readyState === 'complete' && location.href.startsWith({url!r})")

    def run(self, script: str) -> Any:
        """The value of an expression in the page."""
        found = self.ask("Runtime.evaluate", expression=script, returnByValue=True)
        assert "exceptionDetails" not in found, found
        return found["result"].get("value")

    def wait(self, script: str) -> Any:
        """The value of an expression once it is true, in whatever page is there then."""
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            whole = f"document.readyState === 'complete' && ({script})"
            found = self._reply("Runtime.evaluate", {"expression": whole, "returnByValue": True})
            value = found.get("result", {}).get("result", {}).get("value")
            if value:
                return value
            time.sleep(0.05)
        raise AssertionError(f"never became true: {script}; {self.run('document.body.innerText')}")

    def listen(self) -> None:
        """Note errors of the console, of scripts and of files that were not there."""
        self.ask("Log.enable")
        self.ask("Runtime.enable")

    def press(self, key: str) -> None:
        """One key, such as Tab."""
        for kind in ("rawKeyDown", "keyUp"):
            self.ask(
                "Input.dispatchKeyEvent", type=kind, key=key, code=key,
                windowsVirtualKeyCode=KEYS[key],
            )  # fmt: skip

    def scheme(self, name: str) -> None:
        """As for a person who likes pages `light` or `dark`."""
        feature = {"name": "prefers-color-scheme", "value": name}
        self.ask("Emulation.setEmulatedMedia", features=[feature])

    def click(self, label: str) -> None:
        """Press the button or summary that is called so, with the mouse, once it is there."""
        place = self.wait(
            "(() => { const found = [...document.querySelectorAll('button, summary')].find("
            f"e => (e.ariaLabel || e.innerText) === {json.dumps(label)} && e.offsetParent);"
            " if (!found) return null; found.scrollIntoView({block: 'center'});"
            " const b = found.getBoundingClientRect();"
            " return [b.x + b.width / 2, b.y + b.height / 2]; })()"
        )
        for kind in ("mousePressed", "mouseReleased"):
            self.ask(
                "Input.dispatchMouseEvent", type=kind, x=place[0], y=place[1], button="left",
                clickCount=1,
            )  # fmt: skip

    def type(self, selector: str, text: str) -> None:
        """Write into a field."""
        self.run(f"document.querySelector({json.dumps(selector)}).focus()")
        self.ask("Input.insertText", text=text)

    def size(self, width: int, height: int) -> None:
        """A window of this many CSS pixels."""
        self.ask(
            "Emulation.setDeviceMetricsOverride", width=width, height=height,
            deviceScaleFactor=1, mobile=width < 600,
        )  # fmt: skip

    def picture(self, path: Path) -> None:
        """What is to be seen, the whole page."""
        found = self.ask("Page.captureScreenshot", format="png", captureBeyondViewport=True)
        path.write_bytes(base64.b64decode(found["data"]))

    def _ask(
        self, method: str, given: dict[str, Any], session: str | None = None
    ) -> dict[str, Any]:
        reply = self._reply(method, given, session)
        assert "error" not in reply, (method, reply["error"])
        result: dict[str, Any] = reply["result"]
        return result

    def _reply(
        self, method: str, given: dict[str, Any], session: str | None = ""
    ) -> dict[str, Any]:
        """What Chromium answers, be it an error: a page may go while it is asked."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": given}
        named = self._session if session == "" else session
        if named:
            message["sessionId"] = named
        os.write(self._to, json.dumps(message).encode() + b"\0")
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            reply = self._message(end)
            if reply.get("id") == self._number:
                return reply
            self._note(reply)
        raise AssertionError(f"Chromium did not answer {method}")

    def _note(self, event: dict[str, Any]) -> None:
        entry = event.get("params", {}).get("entry", {})
        called = event.get("params", {}).get("type") == "error"
        if (
            entry.get("level") == "error"
            or event.get("method") == "Runtime.exceptionThrown"
            or called
        ):
            self.errors.append(json.dumps(event)[:500])

    def _message(self, end: float) -> dict[str, Any]:
        while b"\0" not in self._left:
            if not select.select([self._back], [], [], max(end - time.monotonic(), 0))[0]:
                return {}
            part = os.read(self._back, 1 << 20)
            assert part, "Chromium ended"
            self._left += part
        one, _, self._left = self._left.partition(b"\0")
        found: dict[str, Any] = json.loads(one)
        return found


@contextmanager
def browser(folder: Path) -> Iterator[Browser]:
    """A browser with a profile of its own; the test is skipped where there is none."""
    command = next(filter(None, map(shutil.which, NAMES)), None)
    if command is None:
        pytest.skip(f"none of {', '.join(NAMES)} is installed")
    in_read, in_write = os.pipe()
    out_read, out_write = os.pipe()
    # Chromium reads commands from descriptor 3 and answers on 4
    program = (
        f"import os, sys; a, b = os.dup({in_read}), os.dup({out_write})\n"
        "os.dup2(a, 3); os.dup2(b, 4)\n"
        "os.set_inheritable(3, True); os.set_inheritable(4, True)\n"
        "os.execv(sys.argv[1], sys.argv[1:])"
    )
    process = subprocess.Popen(
        [
            sys.executable,
            "-c",
            program,
            command,
            *FLAGS,
            f"--user-data-dir={folder}",
            "about:blank",
        ],
        pass_fds=(in_read, out_write),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    os.close(in_read)
    os.close(out_write)
    try:
        yield Browser(in_write, out_read)
    finally:
        os.close(in_write)
        os.close(out_read)
        try:
            process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, 9)
            process.wait()
