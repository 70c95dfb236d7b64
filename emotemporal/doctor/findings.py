"""What a check has found."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at."""

    name: str
    status: Literal["ok", "note", "warning", "fault"]
    """A note tells of what is not there and need not be; only faults keep something from working."""
    found: str
    advice: str = ""
    """What to do, empty where there is nothing to do."""
