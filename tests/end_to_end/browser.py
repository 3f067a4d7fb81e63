# SPDX-License-Identifier: MIT
"""A headless Chromium, spoken to over a pipe by its DevTools protocol: opens a page from disk at a width,
in light or dark, and tells what went wrong in it."""

import base64
import fcntl
import json
import os
import pathlib
import shutil
import subprocess
import tempfile
import time
import unittest

HEIGHTS = {390: 844, 1400: 900}
PATIENCE = 120  # seconds, for one answer


def chromium():
    """The program, or a skipped test."""
    for name in ("chromium", "chromium-browser", "google-chrome"):
        if found := shutil.which(name):
            return found
    raise unittest.SkipTest("no Chromium is installed (scripts/install-dependencies further brings it on Debian)")


class Browser:
    """One process; pages are tabs of it."""

    def __init__(self):
        program = chromium()
        self.profile = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        # Above 9, so that none of them is 3 or 4, which are what Chromium reads and writes.
        to_child, self.commands = (fcntl.fcntl(fd, fcntl.F_DUPFD, 10) for fd in os.pipe())
        self.answers, from_child = (fcntl.fcntl(fd, fcntl.F_DUPFD, 10) for fd in os.pipe())

        def give_pipes():
            os.dup2(to_child, 3)
            os.dup2(from_child, 4)

        self.process = subprocess.Popen(
            [program, "--headless", "--remote-debugging-pipe", "--no-sandbox", "--disable-gpu",
             "--disable-dev-shm-usage", "--disable-background-networking", "--disable-extensions",
             "--no-first-run", "--hide-scrollbars", "--force-device-scale-factor=1",
             f"--user-data-dir={self.profile.name}"],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            pass_fds=(3, 4), preexec_fn=give_pipes)
        os.close(to_child)
        os.close(from_child)
        os.set_blocking(self.answers, False)
        self.buffer, self.count, self.events = b"", 0, []
        self.call("Browser.getVersion")  # a tab asked for before it is up would never come

    def close(self):
        try:
            self.call("Browser.close")
            self.process.wait(PATIENCE)
        except (OSError, RuntimeError, subprocess.TimeoutExpired):
            self.process.kill()
            self.process.wait()
        os.close(self.commands)
        os.close(self.answers)
        self.profile.cleanup()

    def receive(self):
        """The next message."""
        end = time.monotonic() + PATIENCE
        while b"\0" not in self.buffer:
            try:
                piece = os.read(self.answers, 1 << 20)
            except BlockingIOError:
                if time.monotonic() > end:
                    raise RuntimeError("Chromium does not answer")
                time.sleep(0.002)
                continue
            if not piece:
                raise RuntimeError(f"Chromium has ended ({self.process.poll()})")
            self.buffer += piece
        message, self.buffer = self.buffer.split(b"\0", 1)
        return json.loads(message)

    def call(self, method, session=None, **parameters):
        self.count += 1
        message = {"id": self.count, "method": method, "params": parameters}
        if session:
            message["sessionId"] = session
        data = json.dumps(message).encode() + b"\0"
        while data:
            data = data[os.write(self.commands, data):]
        while True:
            answer = self.receive()
            if answer.get("id") != self.count:
                self.events.append(answer)
            elif "error" in answer:
                raise RuntimeError(f"{method}: {answer['error']}")
            else:
                return answer["result"]

    def open(self, path, width=1400, dark=False, fragment=""):
        return Page(self, pathlib.Path(path), width, dark, fragment)


class Page:
    def __init__(self, browser, path, width, dark, fragment):
        self.browser = browser
        target = browser.call("Target.createTarget", url="about:blank")["targetId"]
        self.target = target
        self.session = browser.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=HEIGHTS[width],
                  deviceScaleFactor=1, mobile=width < 500)
        self.call("Emulation.setEmulatedMedia", features=[
            {"name": "prefers-color-scheme", "value": "dark" if dark else "light"},
            {"name": "prefers-reduced-motion", "value": "reduce"}])
        self.call("Page.navigate", url=path.resolve().as_uri() + fragment)
        self.wait_for("Page.loadEventFired")

    def call(self, method, **parameters):
        return self.browser.call(method, self.session, **parameters)

    def mine(self, *methods):
        return [event["params"] for event in self.browser.events
                if event.get("sessionId") == self.session and event["method"] in methods]

    def wait_for(self, method):
        while not self.mine(method):
            self.browser.events.append(self.browser.receive())

    def complaints(self):
        """What a person would find in the console: errors, warnings, exceptions."""
        self.evaluate("0")  # what was said before has then arrived
        said = [event["entry"]["text"] for event in self.mine("Log.entryAdded")
                if event["entry"]["level"] in ("warning", "error")]
        said += [str(event["args"]) for event in self.mine("Runtime.consoleAPICalled")]
        return said + [str(event["exceptionDetails"]) for event in self.mine("Runtime.exceptionThrown")]

    def requests(self):
        """Addresses that the page has asked for, itself included."""
        return [event["request"]["url"] for event in self.mine("Network.requestWillBeSent")]

    def evaluate(self, expression):
        """The value of a JavaScript expression."""
        result = self.call("Runtime.evaluate", expression=expression, returnByValue=True,
                           awaitPromise=True)
        if "exceptionDetails" in result:
            raise AssertionError(f"{expression}: {result['exceptionDetails']}")
        return result["result"].get("value")

    def press(self, key, code):
        text = {"text": "\r"} if key == "Enter" else {}
        self.call("Input.dispatchKeyEvent", type="keyDown", key=key, code=key, windowsVirtualKeyCode=code, **text)
        self.call("Input.dispatchKeyEvent", type="keyUp", key=key, code=key, windowsVirtualKeyCode=code)
        self.evaluate("new Promise((done) => requestAnimationFrame(() => done(0)))")

    def screenshot(self, path, top=0, height=None):
        """As a PNG: the whole page, or `height` pixels of it from `top` on."""
        size = self.call("Page.getLayoutMetrics")["cssContentSize"]
        clip = {"x": 0, "y": top, "width": size["width"], "height": height or size["height"] - top, "scale": 1}
        data = self.call("Page.captureScreenshot", captureBeyondViewport=True, clip=clip)["data"]
        pathlib.Path(path).write_bytes(base64.b64decode(data))

    def close(self):
        self.browser.call("Target.closeTarget", targetId=self.target)
