"""What every reader of labelled videos gives, and what all of them check."""

import hashlib
import os
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from emotemporal.errors import DataError
from emotemporal.labels import FER7

VIDEO_SUFFIXES = frozenset(
    (".mp4", ".m4v", ".mov", ".avi", ".mkv", ".webm", ".mpg", ".mpeg", ".wmv", ".flv", ".ts", ".3gp", ".ogv")
)
# What data sets hold beyond the seven; a head is trained on the subset that its config names.
KNOWN_EMOTIONS: tuple[str, ...] = (*FER7, "calm", "contempt")
_MAX_NAMED = 20


@dataclass(frozen=True)
class ClipItem:
    """One labelled video."""

    path: Path
    clip_id: str
    """Unique, safe as a file name."""
    label: str
    subject: str = ""
    """Whom it shows; empty where unknown."""
    split: str = ""
    source: str = ""
    """The take or film it comes from, all clips of which belong on one side of a split; empty: none but
    itself."""
    fields: Mapping[str, str] = field(default_factory=dict, hash=False)
    """What else the data set says of it, by name."""


@dataclass(frozen=True, eq=False)
class ClipSet:
    """The labelled videos of a data set."""

    dataset: str
    """The reader's name."""
    items: tuple[ClipItem, ...]
    notes: tuple[str, ...] = ()
    """What was left out or changed, and why; one line each."""


def find_videos(root: Path) -> list[Path]:
    """Return all videos below a folder, in order of their names; what macOS adds to archives is not one."""
    return sorted(
        path
        for path in root.rglob("*")
        if path.suffix.lower() in VIDEO_SUFFIXES
        and not path.name.startswith("._")
        and "__MACOSX" not in path.parts
        and path.is_file()
    )


def mostly_named(root: Path, pattern: re.Pattern[str]) -> bool:
    """Return whether at least half of a folder's videos bear names of a pattern."""
    fits = [pattern.fullmatch(video.stem) is not None for video in find_videos(root)]
    return bool(fits) and 2 * sum(fits) >= len(fits)


def safe_id(relative: Path) -> str:
    """Make a file name of a path; nothing in it can lead out of a folder."""
    # Of a bare root or parent nothing is left, and no suffix can be taken off.
    named = relative.with_suffix("") if relative.name else relative
    parts = [part for part in named.parts if part not in ("..", ".", relative.anchor)]
    return "__".join(parts)


def some_of(names: Sequence[object]) -> str:
    """Join names for a message: the first twenty, and how many more there are."""
    shown = ", ".join(str(name) for name in names[:_MAX_NAMED])
    rest = len(names) - _MAX_NAMED
    return f"{shown} and {rest} more" if rest > 0 else shown


def note_on_strangers(dataset: str, strangers: Sequence[Path]) -> list[str]:
    """Return the note, if any, on videos whose names are not those of the data set."""
    if not strangers:
        return []
    return [f"{len(strangers)} videos not named as {dataset} names them are left out: {some_of(strangers)}"]


def one_file_for_each_take(items: Iterable[ClipItem]) -> tuple[list[ClipItem], int]:
    """Keep the first file of every source.

    Returns: the files kept, in their order, and the number of those left out.
    """
    kept: dict[str, ClipItem] = {}
    num_items = 0
    for item in items:
        num_items += 1
        kept.setdefault(item.source, item)
    return list(kept.values()), num_items - len(kept)


def checked_items(items: Sequence[ClipItem], origin: Path) -> tuple[ClipItem, ...]:
    """Check a list of labelled videos as a whole.

    Files of the same content are given the same source: a copy is no other take.

    Args:
        items: all of them.
        origin: the table or folder that lists them, for messages.
    Raises:
        DataError: it is empty, videos are missing, one is listed twice, or two would share an id.
    """
    if not items:
        raise DataError(f"{origin}: no labelled videos in it")
    # Unlike Path.is_file this has no quarrel with a name that is too long for the system.
    missing = [item.path for item in items if not os.path.isfile(item.path)]
    if missing:
        raise DataError(f"{origin}: {len(missing)} of {len(items)} videos are missing: {some_of(missing)}")
    files: dict[Path, ClipItem] = {}
    ids: dict[str, ClipItem] = {}
    for item in items:
        file = item.path.resolve()
        if file in files:
            raise DataError(
                f"{origin}: {item.path} is listed twice, as {files[file].label} and {item.label}; keep one"
            )
        if item.clip_id in ids:
            raise DataError(
                f"{origin}: {ids[item.clip_id].path} and {item.path} would share the id {item.clip_id}; "
                "rename one"
            )
        files[file] = ids[item.clip_id] = item
    return _with_shared_sources(items)


def _with_shared_sources(items: Sequence[ClipItem]) -> tuple[ClipItem, ...]:
    by_size: dict[int, list[int]] = defaultdict(list)
    for i, item in enumerate(items):
        by_size[item.path.stat().st_size].append(i)
    source = [item.source or item.clip_id for item in items]
    for size, group in by_size.items():
        # Only files of one size can be copies; the others need not be read.
        if size == 0 or len(group) == 1:
            continue
        first: dict[str, int] = {}
        for i in group:
            with items[i].path.open("rb") as stream:
                digest = hashlib.file_digest(stream, "sha256").hexdigest()
            source[i] = source[first.setdefault(digest, i)]
    return tuple(replace(item, source=name) for item, name in zip(items, source, strict=True))
