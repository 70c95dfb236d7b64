"""What every test shares."""

import shutil
import signal
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).resolve().parent.parent
DATA = ROOT.parent / "shared" / "data"

# What a shell starts in the background ignores Ctrl-C, and so would the commands that tests interrupt.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# One thread: the networks of the tests are too small to share out.
torch.set_num_threads(1)


@pytest.fixture(scope="session", autouse=True)
def network_cache(tmp_path_factory) -> Path:
    """Folder for compiled networks, so that tests leave the user's own alone; commands inherit it."""
    folder = tmp_path_factory.mktemp("networks")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EMOTEMPORAL_CACHE", str(folder))
        yield folder


@pytest.fixture(scope="module")
def program(request, tmp_path_factory) -> Path:
    """File of the test module's `PROGRAM`, to be run as a process of its own."""
    path = tmp_path_factory.mktemp("program") / "program.py"
    path.write_text(request.module.PROGRAM)
    return path


@pytest.fixture(scope="session")
def root() -> Path:
    """Folder of the checkout."""
    return ROOT


@pytest.fixture(scope="session")
def data_folder() -> Path:
    """Folder of the development data; skips where it is absent."""
    if not DATA.is_dir():
        pytest.skip(f"the development data are not in {DATA}")
    return DATA


@pytest.fixture(scope="module")
def browser():
    """Chromium, for what a browser alone can tell; skips where there is none.

    Of one module, not of the session: while it runs, no other event loop can in this thread.
    """
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    program = shutil.which("chromium")
    if program is None:
        pytest.skip("there is no chromium")
    flags = "headless no-sandbox disable-gpu disable-background-networking disable-component-update"
    flags += " disable-sync no-first-run"
    with pytest.MonkeyPatch.context() as patch:
        # With io_uring the driver's Node.js once span for ever instead of ending.
        patch.setenv("UV_USE_IO_URING", "0")
        with playwright.sync_playwright() as driver:
            chromium = driver.chromium.launch(executable_path=program, args=[f"--{x}" for x in flags.split()])
            yield chromium
            chromium.close()
