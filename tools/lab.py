"""A real JupyterLab of our own, and a real Chromium to drive it. Used by tests/browser, benchmarks and tools/shoot.py.

The server has its own settings, kernels and copy of the notebooks, on a free port with a token of its own;
it is ended as a process group, kernels included. Nothing of the user's Jupyter is read or written.
"""

import contextlib
import json
import os
import re
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from playwright.sync_api import Browser, ConsoleMessage, Locator, Page, sync_playwright

from tools.kernels import ENVIRONMENT, own_ipython

BROWSERS = ("/usr/bin/chromium", "/usr/bin/google-chrome")
# No sandbox: it needs rights that containers do not have. The rest keeps Chromium from calling home.
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--force-color-profile=srgb",
]
SETTINGS: dict[str, dict[str, object]] = {
    "@jupyterlab/apputils-extension/notification": {
        "fetchNews": "false",
        "checkForUpdates": False,
    },  # no pop-up
    "@jupyterlab/notebook-extension/tracker": {"windowingMode": "none"},  # every cell is in the page
    "@jupyterlab/docmanager-extension/plugin": {"autosave": False},
}
START_SECONDS = 90


class LabError(Exception):
    """JupyterLab did not start or a notebook did not run; the message ends with the server's log."""


def chromium_path() -> str | None:
    """The browser to use: $CHROMIUM if it is set, else the system's; None where there is none."""
    wanted = [os.environ.get("CHROMIUM", ""), *BROWSERS]
    return next((path for path in wanted if path and Path(path).exists()), None)


@contextlib.contextmanager
def chromium() -> Iterator[Browser]:
    """A headless browser for the length of the block. Raises LabError where none is installed."""
    path = chromium_path()
    if path is None:
        raise LabError("no browser: install Debian's chromium, or set CHROMIUM to the path of one")
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=path, headless=True, args=FLAGS)
        try:
            yield browser
        finally:
            browser.close()


@dataclass
class Traffic:
    """What a page did that it should not: requests that leave the machine, and errors in its console."""

    outside: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)


def watch(page: Page, home: str) -> Traffic:
    """Record the page's requests to anywhere but ``home`` (http://host:port), and its console errors."""
    traffic = Traffic()
    allowed = (f"{home}/", home.replace("http", "ws", 1) + "/", "data:", "blob:", "about:blank")

    def note_request(url: str) -> None:
        if not url.startswith(allowed):
            traffic.outside.append(url)

    def note_message(said: ConsoleMessage) -> None:
        traffic.errors.append(f"{said.text} ({said.location.get('url', '')})")

    page.on("request", lambda request: note_request(request.url))
    page.on("websocket", lambda socket: note_request(socket.url))
    page.on("pageerror", lambda error: traffic.errors.append(str(error)))
    page.on("console", lambda said: note_message(said) if said.type == "error" else None)
    return traffic


@dataclass(frozen=True)
class Lab:
    """A running server. ``folder`` holds its copy of the notebooks, ``log`` what it said."""

    url: str
    token: str
    folder: Path
    log: Path

    def open(self, page: Page, path: str) -> None:
        """Open a notebook, e.g. ``notebooks/01_name.ipynb``, and wait until its kernel is ready."""
        page.goto(f"{self.url}/lab/tree/{path}?token={self.token}&reset")
        page.wait_for_selector(".jp-Notebook .jp-Cell", timeout=60_000)
        # The toolbar says "idle" before the kernel is connected; a cell run in between is lost. Ask the app.
        page.wait_for_function(
            """() => {
                const kernel = window.jupyterapp?.shell?.currentWidget?.sessionContext?.session?.kernel;
                return kernel && kernel.connectionStatus === 'connected' && kernel.status === 'idle';
            }""",
            timeout=60_000,
        )

    def run_all(self, page: Page, seconds: int = 240) -> None:
        """Run all cells. Raises LabError at the time limit, or where a cell shows an error or stderr."""
        # Prompts such as [3] are no sign of a run: the stored ones are there before it.
        done = page.evaluate(
            """(ms) => Promise.race([
                window.jupyterapp.commands.execute('notebook:run-all-cells').then(() => true),
                new Promise(resolve => setTimeout(() => resolve(false), ms))])""",
            seconds * 1000,
        )
        if not done:
            raise LabError(f"run all did not end within {seconds} s\n{self.log.read_text()[-2000:]}")
        page.wait_for_timeout(500)  # the last outputs are painted a moment after the kernel has ended
        if red := red_outputs(page):
            raise LabError("run all left errors or stderr in the notebook:\n" + "\n".join(red))


def red_outputs(page: Page) -> list[str]:
    """The text of every error and every stderr output. (In the page, tracebacks carry stderr's type too.)"""
    shown = page.locator('.jp-Notebook [data-mime-type="application/vnd.jupyter.stderr"]')
    return shown.all_inner_texts()


def slider(box: Locator, label: str) -> Locator:
    """The handle of the ipywidgets slider described ``label`` inside ``box``; focus it, then press keys."""
    described = box.page.locator(".widget-label", has_text=_exactly(label))
    return box.locator(".widget-slider").filter(has=described).locator(".noUi-handle")


def _exactly(label: str) -> re.Pattern[str]:
    return re.compile(rf"^\s*{re.escape(label)}\s*$")


@contextlib.contextmanager
def jupyterlab(notebooks: Path) -> Iterator[Lab]:
    """Start JupyterLab on a copy of the folder ``notebooks``, there called notebooks/; stop it at the end."""
    with tempfile.TemporaryDirectory(prefix="ddpm-lab-", ignore_cleanup_errors=True) as folder:
        home = Path(folder)
        shutil.copytree(notebooks, home / "root/notebooks", ignore=shutil.ignore_patterns(".ipynb_checkpoints"))
        for name, values in SETTINGS.items():
            file = home / "settings" / f"{name}.jupyterlab-settings"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(json.dumps(values))
        lab = Lab(f"http://127.0.0.1:{_free_port()}", secrets.token_hex(16), home / "root", home / "server.log")
        with _process(_command(lab), {**os.environ, **ENVIRONMENT, **_own_folders(home)}, lab.log) as process:
            _wait_until(lambda: _answers(lab), process, lab.log)
            yield lab


def _command(lab: Lab) -> list[str]:
    options = [
        "--no-browser",
        "--allow-root",
        "--ServerApp.ip=127.0.0.1",
        f"--ServerApp.port={lab.url.rsplit(':', 1)[1]}",
        "--ServerApp.port_retries=0",
        f"--IdentityProvider.token={lab.token}",
        f"--ServerApp.root_dir={lab.folder}",
        "--LabApp.expose_app_in_browser=True",
    ]
    return [sys.executable, "-m", "jupyterlab", *options]


def _own_folders(home: Path) -> dict[str, str]:
    names = {
        "JUPYTER_CONFIG_DIR": "config",
        "JUPYTER_DATA_DIR": "data",
        "JUPYTER_RUNTIME_DIR": "runtime",
        "JUPYTERLAB_SETTINGS_DIR": "settings",
        "JUPYTERLAB_WORKSPACES_DIR": "workspaces",
    }
    return {name: str(home / folder) for name, folder in names.items()} | own_ipython(home)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _answers(lab: Lab) -> bool:
    try:
        urllib.request.urlopen(f"{lab.url}/api/status?token={lab.token}", timeout=2).close()  # noqa: S310
    except OSError:
        return False
    return True


@contextlib.contextmanager
def _process(command: list[str], environment: dict[str, str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    with log.open("w") as said:
        process = subprocess.Popen(command, env=environment, stdout=said, stderr=said, start_new_session=True)
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)  # the server shuts its kernels down
        try:
            process.wait(15)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _wait_until(ready: Callable[[], bool], process: subprocess.Popen[bytes], log: Path) -> None:
    limit = time.monotonic() + START_SECONDS
    while not ready():
        if process.poll() is not None or time.monotonic() > limit:
            raise LabError("JupyterLab did not start:\n" + log.read_text()[-4000:])
        time.sleep(0.2)
