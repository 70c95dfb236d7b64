"""What files are called by those who upload them, and what of that may be the name of a file."""

from __future__ import annotations

import re
from urllib.parse import unquote

from emotemporal.report.tables import printable

_MAX_SHOWN = 200
_MAX_STEM = 60


def shown_name(sent: str) -> str:
    """Return the last part of a percent-encoded file name, as it can be shown on a line."""
    name = re.split(r"[/\\]", unquote(sent, errors="replace"))[-1].strip()
    return printable(name)[:_MAX_SHOWN] or "video"


def safe_stem(name: str) -> str:
    """Return a name without its suffix that is harmless on every system: letters, digits, `-`, `_`, `.`."""
    stem = re.sub(r"[^\w.-]+", "_", name.rpartition(".")[0] or name)
    return stem.strip("._-")[:_MAX_STEM].rstrip("._-") or "video"
