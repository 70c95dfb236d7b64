"""Versions of the software that results come from."""

import platform
from contextlib import suppress
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from emotemporal import __version__


@cache
def versions() -> dict[str, Any]:
    """Return what an output records of the software it came from."""
    packages = ("torch", "decord2", "av", "facenet-pytorch", "numpy", "opencv-python-headless")
    found = {
        "emotemporal": __version__,
        "python": platform.python_version(),
        **{name: version(name) for name in packages},
    }
    # It runs the networks where it is installed.
    with suppress(PackageNotFoundError):
        found["openvino"] = version("openvino")
    return found
