"""Lists of labelled videos: a manifest csv, a folder with one, or folders named after emotions."""

import csv
from dataclasses import dataclass
from pathlib import Path

from emotemporal.errors import DataError
from emotemporal.labels import FER7, canonical_emotion, label_index

VIDEO_SUFFIXES = frozenset(
    (".mp4", ".m4v", ".mov", ".avi", ".mkv", ".webm", ".mpg", ".mpeg", ".wmv", ".flv", ".ts", ".3gp", ".ogv")
)
# What data sets hold beyond the seven; a head is trained on the subset that its config names.
KNOWN_EMOTIONS: tuple[str, ...] = (*FER7, "calm", "contempt")
_MANIFEST_NAMES = ("manifest.csv", "labels.csv")
# The column names data sets use for the same thing; the first that is there counts.
_COLUMNS = {
    "path": ("path", "file", "video"),
    "label": ("label", "emotion"),
    "subject": ("subject", "actor", "speaker"),
    "split": ("split", "usage", "set"),
}


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


def read_manifest(path: str | Path) -> list[ClipItem]:
    """List the labelled videos of a manifest csv or a folder.

    A csv has columns `path` and `label` (or `emotion`), and where known `subject` (or `actor`) and
    `split`; its paths are relative to its own folder. A folder holds such a csv as `manifest.csv` or
    `labels.csv`, or folders named after emotions, directly or within one folder for each split.

    Raises:
        DataError: nothing is there, a row is malformed, a label unknown, or videos are missing.
    """
    path = Path(path)
    if path.is_dir():
        for name in _MANIFEST_NAMES:
            if (path / name).is_file():
                return _read_csv(path / name)
        return _read_class_folders(path)
    if path.is_file():
        return _read_csv(path)
    raise DataError(f"{path}: no such file or folder; expected a manifest csv or a folder of labelled videos")


def _read_csv(path: Path) -> list[ClipItem]:
    try:
        with path.open(newline="", encoding="utf-8-sig") as stream:
            rows = list(csv.reader(stream))
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path}: not a csv table ({error})") from error
    header = [name.strip().lower() for name in rows[0]] if rows else []
    columns = {}
    for field, names in _COLUMNS.items():
        present = [name for name in names if name in header]
        if present:
            columns[field] = header.index(present[0])
    for field in ("path", "label"):
        if field not in columns:
            raise DataError(
                f"{path}: no column named {' or '.join(_COLUMNS[field])}, found {', '.join(header)}"
            )
    items = []
    for line, values in enumerate(rows[1:], start=2):
        if not values:
            continue
        if len(values) != len(header):
            raise DataError(f"{path}, line {line}: expected {len(header)} cells")
        cell = {field: str(values[column]).strip() for field, column in columns.items()}
        if not cell["path"]:
            raise DataError(f"{path}, line {line}: the path is empty")
        try:
            label = KNOWN_EMOTIONS[label_index(cell["label"], KNOWN_EMOTIONS)]
        except DataError as error:
            raise DataError(f"{path}, line {line}: {error}") from error
        items.append(
            ClipItem(
                path=path.parent / cell["path"],
                clip_id=_clip_id(Path(cell["path"])),
                label=label,
                subject=cell.get("subject", ""),
                split=cell.get("split", ""),
            )
        )
    return _checked(items, path)


def _read_class_folders(root: Path) -> list[ClipItem]:
    items = []
    for video in sorted(root.rglob("*")):
        if video.suffix.lower() not in VIDEO_SUFFIXES or not video.is_file():
            continue
        inner = video.relative_to(root)
        label = canonical_emotion(inner.parent.name)
        if label not in KNOWN_EMOTIONS or len(inner.parts) > 3:
            raise DataError(
                f"{video}: its folder '{inner.parent.name}' is no emotion; "
                f"expected {root}/[<split>/]<emotion>/<video> or a {_MANIFEST_NAMES[0]}"
            )
        split = inner.parts[0] if len(inner.parts) == 3 else ""
        items.append(ClipItem(path=video, clip_id=_clip_id(inner), label=label, split=split))
    return _checked(items, root)


def _clip_id(relative: Path) -> str:
    """Make a file name of a path; nothing in it can lead out of a folder."""
    parts = [part for part in relative.with_suffix("").parts if part not in ("..", ".", relative.anchor)]
    return "__".join(parts)


def _checked(items: list[ClipItem], source: Path) -> list[ClipItem]:
    if not items:
        raise DataError(f"{source}: no labelled videos in it")
    missing = [str(item.path) for item in items if not item.path.is_file()]
    if missing:
        raise DataError(f"{source}: {len(missing)} of {len(items)} videos are missing: {', '.join(missing)}")
    seen: dict[str, Path] = {}
    for item in items:
        if item.clip_id in seen:
            raise DataError(
                f"{source}: {seen[item.clip_id]} and {item.path} would share the id {item.clip_id}"
            )
        seen[item.clip_id] = item.path
    return items
