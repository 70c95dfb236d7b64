"""A store of face crops on disk: one file for each clip, an index, the geometry they were cut in.

    store.json            format version, crop geometry, what made it
    index.csv             one row for each clip: label, subject, split, what was found
    clips/<clip_id>.npz   crops, frame_index, pts_seconds, track_id

Clip files appear whole or not at all, so an interrupted extraction goes on where it stopped.
"""

import csv
import json
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from emotemporal.datasets.manifest import ClipItem
from emotemporal.errors import DataError, OutputError
from emotemporal.files import replacing
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
            if found != header:
                differing = [name for name in header if found.get(name) != header[name]]
                raise DataError(
                    f"{folder}: holds crops made with another {' and '.join(differing)}; choose a new folder"
                )
        try:
            (folder / "clips").mkdir(parents=True, exist_ok=True)
            with replacing(folder / "store.json") as temporary:
                temporary.write_text(json.dumps(header, indent=2) + "\n")
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
        """Return whether the store holds the crops of this very video, as it is now."""
        path = self._file(item.clip_id)
        if not path.is_file():
            return False
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as arrays:
            return arrays["source"].tolist() == _fingerprint(item.path)

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
            np.savez_compressed(stream, **arrays)

    def read(self, clip_id: str) -> StoredClip:
        """Return one clip.

        Raises:
            DataError: its file is missing or damaged.
        """
        path = self._file(clip_id)
        try:
            with path.open("rb") as stream, np.load(stream, allow_pickle=False) as arrays:
                crops = None
                if "crops" in arrays:
                    crops = CropSequence(
                        track_id=int(arrays["track_id"]),
                        frame_index=arrays["frame_index"],
                        pts_seconds=arrays["pts_seconds"],
                        crops=arrays["crops"],
                    )
                return StoredClip(int(arrays["num_frames"]), int(arrays["num_people"]), crops)
        except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
            raise DataError(f"{path}: not readable ({error}); delete it and extract again") from error

    def write_index(self, items: Sequence[ClipItem]) -> list[IndexRow]:
        """Write and return the index over all clips of a manifest."""
        rows = []
        for item in items:
            clip = self.read(item.clip_id)
            rows.append(
                IndexRow(
                    clip_id=item.clip_id,
                    path=str(item.path),
                    label=item.label,
                    subject=item.subject,
                    split=item.split,
                    num_frames=clip.num_frames,
                    num_seen=0 if clip.crops is None else len(clip.crops),
                    num_people=clip.num_people,
                )
            )
        with (
            replacing(self.folder / "index.csv") as temporary,
            temporary.open("w", newline="", encoding="utf-8") as stream,
        ):
            writer = csv.DictWriter(stream, fieldnames=list(IndexRow.__dataclass_fields__))
            writer.writeheader()
            writer.writerows(asdict(row) for row in rows)
        return rows

    def read_index(self) -> list[IndexRow]:
        """Return the index.

        Raises:
            DataError: it is malformed.
        """
        path = self.folder / "index.csv"
        rows = []
        with path.open(newline="", encoding="utf-8") as stream:
            for line, cells in enumerate(csv.DictReader(stream), start=2):
                try:
                    counts = {name: int(cells.pop(name)) for name in ("num_frames", "num_seen", "num_people")}
                    rows.append(IndexRow(**cells, **counts))
                except (KeyError, TypeError, ValueError) as error:
                    raise DataError(f"{path}, line {line}: malformed ({error})") from error
        return rows

    def _file(self, clip_id: str) -> Path:
        return self.folder / "clips" / f"{clip_id}.npz"


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
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path}: not readable ({error})") from error
    if version != _FORMAT_VERSION:
        raise DataError(f"{path}: format version {version}, this release reads {_FORMAT_VERSION}")
    return header
