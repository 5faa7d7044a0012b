"""A JupyterLab of our own and a browser to look at it with.

The browser is the system's Chromium, driven by Playwright: `pip install playwright` and
a `chromium` or `google-chrome` on the path. Without them these tests are skipped, or
fail where PERSO_LITE_BROWSER=required is set.
"""

import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from contextlib import suppress

import pytest

STUCK = 20  # seconds after which a wait that should be short has failed
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
FLAGS = (
    "--no-sandbox --disable-gpu --disable-quic --no-first-run "
    "--disable-background-networking --disable-component-update --disable-sync"
).split()


def give_up(reason: str) -> None:
    """Skip, or fail where a browser is required."""
    if os.environ.get("PERSO_LITE_BROWSER") == "required":
        pytest.fail(f"{reason}, and PERSO_LITE_BROWSER=required is set.")
    pytest.skip(reason)


@pytest.fixture(scope="module")
def chromium():
    """A browser, closed after the module: its event loop is not for other tests."""
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        give_up("Playwright is not installed: pip install playwright")
    path = next(filter(None, map(shutil.which, BROWSERS)), None)
    if path is None:
        give_up(f"There is no browser: none of {', '.join(BROWSERS)} is on the path")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def page(chromium):
    """A fresh page, with the errors of its scripts in `page.errors`."""
    page = chromium.new_page(viewport={"width": 1280, "height": 1000})
    page.set_default_timeout(STUCK * 1000)
    page.errors = []
    page.on("pageerror", lambda error: page.errors.append(error))
    yield page
    page.close()


class Lab:
    """A running JupyterLab.

    Attributes:
        folder: whose notebooks it serves.
    """

    def __init__(self, folder, url):
        self.folder, self.url = folder, url

    def open(self, page, name: str) -> None:
        """Open one of the notebooks, and wait until it is there."""
        page.goto(f"{self.url}/lab/tree/{name}?reset")
        page.wait_for_selector(".jp-Notebook .jp-Cell")

    def run_all(self, page, seconds: float) -> None:
        """Run all cells of the open notebook and wait until they have run.

        It fails after so many seconds.
        """
        page.evaluate(
            """() => {
                const app = window.jupyterapp;
                const session = app.shell.currentWidget.sessionContext;
                window.finished = false;
                session.ready
                    .then(() => app.commands.execute("notebook:run-all-cells"))
                    .finally(() => { window.finished = true; });
            }"""
        )
        page.wait_for_function("window.finished", timeout=seconds * 1000)


@pytest.fixture(scope="module")
def lab(chromium, tmp_path_factory):
    """JupyterLab in an empty folder, with none of the user's settings."""
    folder, home = (tmp_path_factory.mktemp(name) for name in ("notebooks", "home"))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root"]
    command += ["--expose-app-in-browser", "--LabApp.news_url=None"]
    command += [f"--ServerApp.root_dir={folder}", f"--ServerApp.port={port}"]
    command += ["--ServerApp.port_retries=0", "--ServerApp.disable_check_xsrf=True"]
    command += ["--IdentityProvider.token=", "--ServerApp.ip=127.0.0.1"]
    kinds = ("JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR")
    kinds += ("JUPYTERLAB_SETTINGS_DIR", "JUPYTERLAB_WORKSPACES_DIR", "IPYTHONDIR")
    own = {kind: str(home / kind) for kind in kinds}
    with (home / "log.txt").open("w") as log:
        server = subprocess.Popen(
            command, env=os.environ | own, stdout=log, stderr=subprocess.STDOUT
        )
    url = f"http://127.0.0.1:{port}"
    try:
        wait_for_server(server, url, home / "log.txt")
        yield Lab(folder, url)
    finally:
        stop(server, url)


def wait_for_server(server, url, log) -> None:
    deadline = time.monotonic() + 3 * STUCK
    while time.monotonic() < deadline and server.poll() is None:
        with suppress(OSError), urllib.request.urlopen(f"{url}/api", timeout=STUCK):
            return
        time.sleep(0.2)
    pytest.fail(f"JupyterLab did not start:\n{log.read_text()}")


def stop(server, url) -> None:
    """End the server, which ends its kernels first."""
    request = urllib.request.Request(f"{url}/api/shutdown", method="POST")
    with suppress(OSError):
        urllib.request.urlopen(request, timeout=STUCK).close()
    try:
        server.wait(STUCK)
    except subprocess.TimeoutExpired:
        server.kill()  # a kernel that has lost its server ends by itself
        server.wait()
