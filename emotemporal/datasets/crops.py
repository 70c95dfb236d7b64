"""A store of face crops on disk: one file for each clip, an index, the geometry they were cut in.

    store.json            format version, crop geometry, what made it
    index.csv             one row for each clip: label, subject, split, source, what was found, and what else
                          the data set says of it, in columns of its names
    extraction.csv        one row for each video that was to be extracted, failures with their reason
    clips/<clip_id>.npz   crops, frame_index, pts_seconds, track_id
    evidence/             what frame networks say of them, where that is kept: see `datasets.evidence`

Files appear whole or not at all, so an interrupted extraction goes on where it stopped. Crops are not
compressed: that would save a quarter of the room, and reading them would take ten times as long.
"""

import csv
import hashlib
import json
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np

from emotemporal.datasets.clips import ClipItem
from emotemporal.errors import DataError, OutputError
from emotemporal.files import remove_abandoned, replacing, save_json
from emotemporal.structures import CropGeometry, CropSequence

_FORMAT_VERSION = 1


@dataclass(frozen=True, eq=False)
class StoredClip:
    """What the store keeps of one video."""

    num_frames: int
    """Frames of the video."""
    num_people: int
    """Tracks that were found; the crops are of the most prominent one."""
    crops: CropSequence | None
    """None where no face was found."""


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
UNREADABLE = (
    OSError,
    ValueError,
    TypeError,
    KeyError,
    EOFError,
    NotImplementedError,
    zipfile.BadZipFile,
    zlib.error,
)
"""All that NumPy and zipfile raise on files that were cut off, overwritten or changed by a bit."""


class CropStore:
    """A folder of face crops; see the module's text for its layout."""

    def __init__(self, folder: Path, geometry: CropGeometry, provenance: Mapping[str, Any]) -> None:
        self.folder = folder
        self.geometry = geometry
        self.provenance = provenance

    @classmethod
    def create(cls, folder: str | Path, geometry: CropGeometry, provenance: Mapping[str, Any]) -> "CropStore":
        """Make a store, or open the one that is there to go on with it.

        Raises:
            DataError: the folder holds crops cut in another way.
            OutputError: it cannot be written.
        """
        folder = Path(folder)
        header = {
            "format_version": _FORMAT_VERSION,
            "geometry": json.loads(json.dumps(asdict(geometry))),
            "provenance": dict(provenance),
        }
        if (folder / "store.json").exists():
            found = _read_header(folder)
            differing = [
                f"{part}.{name} {found[part].get(name)} in it, {header[part].get(name)} now"
                for part in ("geometry", "provenance")
                for name in sorted({*found[part], *header[part]})
                if found[part].get(name) != header[part].get(name)
            ]
            if differing:
                raise DataError(
                    f"{folder}: holds crops made in another way ({'; '.join(differing)}); choose a new folder"
                )
        try:
            (folder / "clips").mkdir(parents=True, exist_ok=True)
            save_json(folder / "store.json", header)
        except OSError as error:
            raise OutputError(f"{folder}: cannot write the crop store ({error})") from error
        return cls(folder, geometry, provenance)

    @classmethod
    def open(cls, folder: str | Path) -> "CropStore":
        """Open a finished store.

        Raises:
            DataError: it is not one, or its extraction has not ended.
        """
        folder = Path(folder)
        header = _read_header(folder)
        if not (folder / "index.csv").is_file():
            raise DataError(f"{folder}: has no index.csv; let extract_faces finish first")
        return cls(folder, CropGeometry.from_dict(header["geometry"]), header["provenance"])

    def has(self, item: ClipItem) -> bool:
        """Return whether the store holds the crops of this very video, as it is now, undamaged."""
        try:
            with open_arrays(self._file(item.clip_id)) as arrays:
                # Reading everything is what compares the checksums.
                found = {name: arrays[name] for name in arrays.files}
            return found["source"].tolist() == _fingerprint(item.path)
        except UNREADABLE:
            return False

    def write(self, item: ClipItem, clip: StoredClip) -> None:
        """Keep one clip's crops, whole or not at all.

        Raises:
            OutputError: the disk does not take it.
        """
        arrays: dict[str, Any] = {
            "num_frames": clip.num_frames,
            "num_people": clip.num_people,
            "source": np.array(_fingerprint(item.path), dtype=np.int64),
        }
        if clip.crops is not None:
            arrays |= {
                "track_id": clip.crops.track_id,
                "frame_index": clip.crops.frame_index,
                "pts_seconds": clip.crops.pts_seconds,
                "crops": clip.crops.crops,
            }
        with replacing(self._file(item.clip_id)) as temporary, temporary.open("wb") as stream:
            np.savez(stream, **arrays)

    def read(self, clip_id: str) -> StoredClip:
        """Return one clip.

        Raises:
            DataError: its file is missing or damaged.
        """
        path = self._file(clip_id)
        try:
            with open_arrays(path) as arrays:
                crops = None
                if "crops" in arrays:
                    crops = CropSequence(
                        track_id=int(arrays["track_id"]),
                        frame_index=arrays["frame_index"],
                        pts_seconds=arrays["pts_seconds"],
                        crops=arrays["crops"],
                    )
                return StoredClip(int(arrays["num_frames"]), int(arrays["num_people"]), crops)
        except UNREADABLE as error:
            raise DataError(f"{path}: not readable ({error}); run extract_faces again") from error

    def digest(self, clip_id: str) -> str:
        """Return what tells the crops and times of a clip from others, without reading them.

        It is made of the checksums in the file's directory: a copy of the store has the same.

        Raises:
            DataError: its file is missing or damaged.
        """
        path = self._file(clip_id)
        try:
            with zipfile.ZipFile(path) as archive:
                parts = sorted((part.filename, part.file_size, part.CRC) for part in archive.infolist())
        except UNREADABLE as error:
            raise DataError(f"{path}: not readable ({error}); run extract_faces again") from error
        seen = [part for part in parts if part[0] in ("crops.npy", "pts_seconds.npy")]
        return hashlib.sha256(repr(seen).encode()).hexdigest()[:16]

    def write_index(self, items: Sequence[ClipItem]) -> list[IndexRow]:
        """Write and return the index over all clips of a manifest."""
        rows = [self._index_row(item) for item in items]
        others = list(dict.fromkeys(name for row in rows for name in row.fields))
        with (
            replacing(self.folder / "index.csv") as temporary,
            temporary.open("w", newline="", encoding="utf-8", errors=_UNDECODABLE) as stream,
        ):
            writer = csv.DictWriter(stream, fieldnames=[*_COLUMNS, *others], restval="")
            writer.writeheader()
            writer.writerows({name: getattr(row, name) for name in _COLUMNS} | row.fields for row in rows)
        return rows

    def read_index(self) -> list[IndexRow]:
        """Return the index.

        A clip whose row names no source is its own.

        Raises:
            DataError: it is malformed.
        """
        path = self.folder / "index.csv"
        rows = []
        with path.open(newline="", encoding="utf-8", errors=_UNDECODABLE) as stream:
            for line, cells in enumerate(csv.DictReader(stream), start=2):
                try:
                    counts = {name: int(cells.pop(name)) for name in _COUNTS}
                    own = {name: cells.pop(name) for name in _COLUMNS if name in cells}
                    own["source"] = own.get("source") or own["clip_id"]
                    if None in cells or None in cells.values():
                        raise ValueError("another number of cells than the header")
                    rows.append(IndexRow(**own, **counts, fields=cells))
                except (KeyError, TypeError, ValueError) as error:
                    raise DataError(f"{path}, line {line}: malformed ({error})") from error
        return rows

    def require_geometry(self, geometry: CropGeometry) -> None:
        """Make sure that the crops are cut as a network wants them.

        Raises:
            DataError: they are not; the message says in what.
        """
        here, there = asdict(self.geometry), asdict(geometry)
        differing = [f"{name} {here[name]}, not {there[name]}" for name in here if here[name] != there[name]]
        if differing:
            raise DataError(
                f"{self.folder}: cut in another geometry than the network's ({'; '.join(differing)}); "
                "extract the faces again"
            )

    def remove_abandoned(self) -> None:
        """Delete what processes that were killed left half written."""
        for folder in (self.folder, self.folder / "clips", self.folder / "evidence"):
            remove_abandoned(folder)

    def _index_row(self, item: ClipItem) -> IndexRow:
        path = self._file(item.clip_id)
        try:
            # Not the crops, which are nearly all of the file.
            with open_arrays(path) as arrays:
                num_seen = len(arrays["frame_index"]) if "frame_index" in arrays else 0
                num_frames, num_people = int(arrays["num_frames"]), int(arrays["num_people"])
        except UNREADABLE as error:
            raise DataError(f"{path}: not readable ({error}); run extract_faces again") from error
        return IndexRow(
            clip_id=item.clip_id,
            path=str(item.path),
            label=item.label,
            subject=item.subject,
            split=item.split,
            num_frames=num_frames,
            num_seen=num_seen,
            num_people=num_people,
            source=item.source or item.clip_id,
            fields=item.fields,
        )

    def _file(self, clip_id: str) -> Path:
        return self.folder / "clips" / f"{clip_id}.npz"


@contextmanager
def open_arrays(path: Path) -> Iterator[Any]:
    """Open an npz file; reading an array of it can raise any of `UNREADABLE`."""
    # NumPy leaves a file open that it was given by name and finds damaged.
    with path.open("rb") as stream, np.load(stream, allow_pickle=False) as arrays:
        yield arrays


def _fingerprint(path: Path) -> list[int]:
    """Size and time of change of a video: what tells another one of the same name."""
    found = path.stat()
    return [found.st_size, found.st_mtime_ns]


def _read_header(folder: Path) -> dict[str, Any]:
    path = folder / "store.json"
    if not path.is_file():
        raise DataError(f"{folder}: not a crop store (no store.json); make one with extract_faces")
    try:
        header = json.loads(path.read_text())
        version = header["format_version"]
        dict(header["geometry"]), dict(header["provenance"])
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path}: not readable ({error})") from error
    if version != _FORMAT_VERSION:
        raise DataError(f"{path}: format version {version}, this release reads {_FORMAT_VERSION}")
    return header
