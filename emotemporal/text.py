"""Text from outside, such as file names, addresses and labels, made fit to be shown and kept."""

import re
from pathlib import PurePath
from urllib.parse import urlsplit

# Of an address: who asks and with what password, and what follows the question mark, where keys stand.
_WHO = re.compile(r"(?<=://)[^/?#\s]*@")
_QUERY = re.compile(
    r"(\b[a-z][a-z0-9+.-]*://[^\s?#'\"]*)\?(?!\*\*\*)\S*?(?=[:,;)'\"]*(?:\s|$))", re.IGNORECASE
)
_HIDDEN = "***"


def printable(text: str) -> str:
    """Return a text with control characters and undecodable bytes spelled out: one line, of no commands."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


def redacted(text: str) -> str:
    """Return a text with the credentials of the addresses in it hidden."""
    return _QUERY.sub(rf"\1?{_HIDDEN}", _WHO.sub(f"{_HIDDEN}@", text))


def one_line(text: str) -> str:
    """Return a message as it may be printed: `printable`, and `redacted`."""
    return printable(redacted(text))


def is_address(path: str | PurePath) -> bool:
    """Tell whether a video is to be fetched from the net."""
    return "://" in str(path)


def media_name(path: str | PurePath) -> str:
    """Return what a file or address is called where its folder does not matter."""
    if not is_address(path):
        return PurePath(path).name
    try:
        parts = urlsplit(str(path))
        return PurePath(parts.path).name or parts.hostname or "address"
    except ValueError:  # brackets that hold no address
        return "address"


def cell_text(text: str) -> str:
    """Return a text that no spreadsheet takes for a formula: such a one begins with an apostrophe."""
    return f"'{text}" if text.startswith(("=", "+", "-", "@", "\t", "\r", "\n")) else text
