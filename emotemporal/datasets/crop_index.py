"""The index of a crop store: a table of its clips for people and programs."""

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from emotemporal.errors import DataError
from emotemporal.files import replacing


@dataclass(frozen=True)
class IndexRow:
    """One line of the index."""

    clip_id: str
    path: str
    label: str
    subject: str
    split: str
    num_frames: int
    num_seen: int
    """Frames on which the face was seen."""
    num_people: int
    source: str = ""
    """The take or film it comes from."""
    fields: Mapping[str, str] = field(default_factory=dict, hash=False)
    """What else the data set says of it, by name."""


# `fields` has columns of its own names.
_COLUMNS = tuple(column.name for column in fields(IndexRow) if column.name != "fields")
# File names need not be text; they come back as they were.
_UNDECODABLE = "surrogateescape"
_COUNTS = ("num_frames", "num_seen", "num_people")


def write_index(path: Path, rows: Sequence[IndexRow]) -> None:
    """Write an index, whole or not at all.

    Raises:
        OutputError: the disk does not take it.
    """
    others = list(dict.fromkeys(name for row in rows for name in row.fields))
    with (
        replacing(path) as temporary,
        temporary.open("w", newline="", encoding="utf-8", errors=_UNDECODABLE) as stream,
    ):
        writer = csv.DictWriter(stream, fieldnames=[*_COLUMNS, *others], restval="")
        writer.writeheader()
        writer.writerows({**{name: getattr(row, name) for name in _COLUMNS}, **row.fields} for row in rows)


def read_index(path: Path) -> list[IndexRow]:
    """Return an index.

    A clip whose row names no source is its own.

    Raises:
        DataError: it is malformed.
    """
    rows = []
    with path.open(newline="", encoding="utf-8", errors=_UNDECODABLE) as stream:
        for line, cells in enumerate(csv.DictReader(stream), start=2):
            try:
                own: dict[str, Any] = {name: int(cells.pop(name)) for name in _COUNTS}
                own |= {name: cells.pop(name) for name in _COLUMNS if name in cells}
                own["source"] = own.get("source") or own["clip_id"]
                if None in cells or None in cells.values():
                    raise ValueError("another number of cells than the header")
                rows.append(IndexRow(**own, fields=cells))
            except (KeyError, TypeError, ValueError) as error:
                raise DataError(f"{path}, line {line}: malformed ({error})") from error
    return rows
