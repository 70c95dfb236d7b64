"""Versions of the software that results come from."""

import platform
from functools import cache
from importlib.metadata import version
from typing import Any

from emotemporal import __version__


@cache
def versions() -> dict[str, Any]:
    """Return what an output records of the software it came from."""
    packages = ("torch", "decord2", "av", "facenet-pytorch", "numpy", "opencv-python-headless")
    return {
        "emotemporal": __version__,
        "python": platform.python_version(),
        **{name: version(name) for name in packages},
    }
