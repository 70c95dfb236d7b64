"""Own clips: a manifest csv, a folder with one, or folders named after emotions."""

import csv
from pathlib import Path

from emotemporal.datasets.clips import (
    KNOWN_EMOTIONS,
    ClipItem,
    ClipSet,
    checked_items,
    find_videos,
    safe_id,
    some_of,
)
from emotemporal.errors import DataError
from emotemporal.labels import label_index

MANIFEST_NAMES = ("manifest.csv", "labels.csv")
PATH_COLUMNS = ("path", "file", "video")
# The column names data sets use for the same thing; the first that is there counts.
_COLUMNS = {
    "path": PATH_COLUMNS,
    "label": ("label", "emotion"),
    "subject": ("subject", "actor", "speaker"),
    "split": ("split", "usage", "set"),
    "source": ("source", "movie"),
}
# What the index of a crop store says itself: an index can serve as a manifest again.
_OF_THE_STORE = ("clip_id", "num_frames", "num_seen", "num_people")


def find_manifest(path: Path) -> Path | None:
    """Return the manifest that a path is or a folder holds, if any."""
    if path.is_file():
        return path
    return next((path / name for name in MANIFEST_NAMES if (path / name).is_file()), None)


def read_table(path: Path) -> ClipSet:
    """List the labelled videos of a manifest csv.

    It has columns `path` and `label` (or `emotion`), and where known `subject` (or `actor`), `split` and
    `source` (or `movie`); its paths are relative to its own folder, its other columns are kept as fields.

    Raises:
        DataError: rows are malformed, labels unknown, videos missing or listed twice.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as stream:
            rows = list(csv.reader(stream))
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path}: not a csv table ({error})") from error
    header = [name.strip().lower() for name in rows[0]] if rows else []
    columns = {}
    for name, synonyms in _COLUMNS.items():
        present = [synonym for synonym in synonyms if synonym in header]
        if present:
            columns[name] = header.index(present[0])
    for name in ("path", "label"):
        if name not in columns:
            raise DataError(
                f"{path}: no column named {' or '.join(_COLUMNS[name])}, found {', '.join(header)}"
            )
    others = {
        name: column
        for column, name in enumerate(header)
        if name and column not in columns.values() and name not in (*_COLUMNS, *_OF_THE_STORE)
    }
    items, faults = [], []
    for line, values in enumerate(rows[1:], start=2):
        if not values:
            continue
        if len(values) != len(header):
            faults.append(f"line {line}: expected {len(header)} cells, found {len(values)}")
            continue
        cell = {name: values[column].strip() for name, column in columns.items()}
        if not cell["path"]:
            faults.append(f"line {line}: the path is empty")
            continue
        try:
            label = KNOWN_EMOTIONS[label_index(cell["label"], KNOWN_EMOTIONS)]
        except DataError as error:
            faults.append(f"line {line}: {error}")
            continue
        items.append(
            ClipItem(
                path=path.parent / cell["path"],
                clip_id=safe_id(Path(cell["path"])),
                label=label,
                subject=cell.get("subject", ""),
                split=cell.get("split", ""),
                source=cell.get("source", ""),
                fields={name: values[column].strip() for name, column in others.items()},
            )
        )
    if faults:
        raise DataError(f"{path}, {some_of(faults)}")
    return ClipSet("manifest", checked_items(items, path))


def read_folders(root: Path) -> ClipSet:
    """Read `<emotion>/<video>` or `<split>/<emotion>/<video>`.

    Raises:
        DataError: a video lies in a folder that is no emotion, or there are none.
    """
    items = []
    for video in find_videos(root):
        inner = video.relative_to(root)
        try:
            label = KNOWN_EMOTIONS[label_index(inner.parent.name, KNOWN_EMOTIONS)]
            too_deep = len(inner.parts) > 3
        except DataError as error:
            raise DataError(
                f"{video}: its folder is no emotion: {error}; expected {root}/[<split>/]<emotion>/<video> "
                f"or a {MANIFEST_NAMES[0]}"
            ) from error
        if too_deep:
            raise DataError(f"{video}: too deep, expected {root}/[<split>/]<emotion>/<video>")
        split = inner.parts[0] if len(inner.parts) == 3 else ""
        items.append(ClipItem(path=video, clip_id=safe_id(inner), label=label, split=split))
    return ClipSet("folders", checked_items(items, root))
