"""A store of face crops on disk: a few files of arrays, an index, the geometry they were cut in.

    store.json            format version, crop geometry, whether landmarks are kept, what made it
    index.csv             one row for each clip: label, subject, split, source, what was found, and what else
                          the data set says of it, in columns of its names
    extraction.csv        one row for each video that was to be extracted, failures with their reason
    shards/               crops, frame_index, pts_seconds and landmarks68 of all clips: see `datasets.shards`
    evidence/             what frame networks say of them, where that is kept: see `datasets.evidence`

An interrupted extraction goes on where it stopped, and several may run at once. Crops are not compressed, so
that reading is mapping a file and any frames of a clip can be read without the others.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from emotemporal.datasets.clips import ClipItem
from emotemporal.datasets.crop_index import IndexRow, read_index, write_index
from emotemporal.datasets.shards import Record, ShardFolder
from emotemporal.errors import DataError, OutputError
from emotemporal.files import remove_abandoned, save_json
from emotemporal.labels import counts_as
from emotemporal.structures import CropGeometry, CropSequence

_FORMAT_VERSION = 2


@dataclass(frozen=True, eq=False)
class StoredClip:
    """What the store keeps of one video."""

    num_frames: int
    """Frames of the video."""
    num_people: int
    """Tracks that were found; the crops are of the most prominent one."""
    crops: CropSequence | None
    """None where no face was found."""


_UNREADABLE = (OSError, ValueError, TypeError, KeyError)


class CropStore:
    """A folder of face crops; see the module's text for its layout."""

    def __init__(
        self, folder: Path, geometry: CropGeometry, provenance: Mapping[str, Any], landmarks68: bool
    ) -> None:
        self.folder = folder
        self.geometry = geometry
        self.provenance = provenance
        self.landmarks68 = landmarks68
        self._shards = ShardFolder(folder / "shards")

    @classmethod
    def create(
        cls,
        folder: str | Path,
        geometry: CropGeometry,
        provenance: Mapping[str, Any],
        *,
        landmarks68: bool = False,
    ) -> "CropStore":
        """Make a store, or open the one that is there to go on with it.

        Args:
            folder: of the store.
            geometry: of all its crops.
            provenance: what made them.
            landmarks68: whether every clip brings its 68 landmarks.
        Raises:
            DataError: the folder holds crops made in another way.
            OutputError: it cannot be written.
        """
        folder = Path(folder)
        header = {
            "format_version": _FORMAT_VERSION,
            "geometry": json.loads(json.dumps(asdict(geometry))),
            "landmarks68": landmarks68,
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
            if found["landmarks68"] != landmarks68:
                differing.append(f"landmarks68 {found['landmarks68']} in it, {landmarks68} now")
            if differing:
                raise DataError(
                    f"{folder}: holds crops made in another way ({'; '.join(differing)}); choose a new folder"
                )
        try:
            folder.mkdir(parents=True, exist_ok=True)
            save_json(folder / "store.json", header)
        except OSError as error:
            raise OutputError(f"{folder}: cannot write the crop store ({error})") from error
        return cls(folder, geometry, provenance, landmarks68)

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
        try:
            geometry = CropGeometry.from_dict(header["geometry"])
        except (ValueError, TypeError, KeyError) as error:
            raise DataError(f"{folder / 'store.json'}: no crop geometry ({error})") from error
        return cls(folder, geometry, header["provenance"], header["landmarks68"])

    def has(self, item: ClipItem) -> bool:
        """Return whether the store holds the crops of this very video, as it is now, undamaged."""
        record = self._shards.find(item.clip_id)
        try:
            if record is None or record.facts["source"] != _fingerprint(item.path):
                return False
            for name in record.arrays:
                self._shards.array(record, name, verify=True)
        except _UNREADABLE:
            return False
        return True

    def write(self, item: ClipItem, clip: StoredClip) -> None:
        """Keep one clip's crops, whole or not at all.

        Raises:
            OutputError: the disk does not take it.
            ValueError: it lacks the landmarks that this store keeps, or brings some where it keeps none.
        """
        facts: dict[str, Any] = {
            "num_frames": clip.num_frames,
            "num_people": clip.num_people,
            "source": _fingerprint(item.path),
        }
        arrays = {}
        if clip.crops is not None:
            if (clip.crops.landmarks68 is not None) != self.landmarks68:
                raise ValueError(
                    f"{item.clip_id}: landmarks68 must be there if and only if the store has them"
                )
            facts["track_id"] = clip.crops.track_id
            arrays = {name: getattr(clip.crops, name) for name in self._array_names()}
        self._shards.append(item.clip_id, facts, arrays)

    def read(self, clip_id: str, *, verify: bool = True) -> StoredClip:
        """Return one clip; its crops are a read-only view of a file, everything else is in memory.

        Args:
            clip_id: of the index.
            verify: compare the checksum of the crops, which reads all of them. Without, only those frames
                are ever read that are looked at.
        Raises:
            DataError: it is missing or damaged.
        """
        record = self._record(clip_id)
        facts, crops = record.facts, None
        try:
            if record.arrays:
                arrays = {
                    name: self._shards.array(record, name, verify=verify or name != "crops")
                    for name in self._array_names()
                }
                small = {name: array.copy() for name, array in arrays.items() if name != "crops"}
                crops = CropSequence(track_id=facts["track_id"], crops=arrays["crops"], **small)
            return StoredClip(facts["num_frames"], facts["num_people"], crops)
        except _UNREADABLE as error:
            raise DataError(
                f"{self.folder}: clip {clip_id} is not readable ({error}); run extract_faces again"
            ) from error

    def digest(self, clip_id: str) -> str:
        """Return what tells the crops and times of a clip from others, without reading them.

        It is made of the checksums in the journal: a copy of the store has the same.

        Raises:
            DataError: it is missing.
        """
        arrays = self._record(clip_id).arrays
        seen = [
            (name, arrays[name].shape, arrays[name].crc32)
            for name in ("crops", "pts_seconds")
            if name in arrays
        ]
        return hashlib.sha256(repr(seen).encode()).hexdigest()[:16]

    def write_index(self, items: Sequence[ClipItem]) -> list[IndexRow]:
        """Write and return the index over all clips of a manifest."""
        # Workers have written meanwhile.
        self._shards.refresh()
        rows = [self._index_row(item) for item in items]
        write_index(self.folder / "index.csv", rows)
        return rows

    def read_index(self) -> list[IndexRow]:
        """Return the index.

        A clip whose row names no source is its own.

        Raises:
            DataError: it is malformed.
        """
        # Clips may have been added since.
        self._shards.refresh()
        return read_index(self.folder / "index.csv")

    def choose_rows(
        self,
        labels: Sequence[str],
        *,
        subjects: Sequence[str] = (),
        splits: Sequence[str] = (),
        emotions: Sequence[str] = (),
    ) -> list[tuple[IndexRow, str]]:
        """Return rows of the index, and which label each counts as.

        Args:
            labels: what the labels of all chosen clips must be or count as.
            subjects: only these people; empty means all.
            splits: only clips of these splits; empty means all.
            emotions: only clips that show these or what counts as one of them; empty means all.
        Raises:
            DataError: a clip's label is none of the labels, or no clip is left.
        """
        chosen = []
        for row in self.read_index():
            if (subjects and row.subject not in subjects) or (splits and row.split not in splits):
                continue
            if emotions and counts_as(row.label, emotions) is None:
                continue
            label = counts_as(row.label, labels)
            if label is None:
                raise DataError(
                    f"{self.folder}: clip {row.clip_id} shows '{row.label}', expected {', '.join(labels)}"
                    + ("; extract_faces --calm neutral relabels them" if row.label == "calm" else "")
                )
            chosen.append((row, label))
        if not chosen:
            wanted = ", ".join([*subjects, *splits, *emotions])
            raise DataError(f"{self.folder}: no clips" + (f" of {wanted}" if wanted else ""))
        return chosen

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

    def require_landmarks68(self) -> None:
        """Make sure that the clips have their 68 landmarks.

        Raises:
            DataError: they do not.
        """
        if not self.landmarks68:
            raise DataError(
                f"{self.folder}: holds no 68 landmarks; run extract_faces --landmarks68 into a new folder"
            )

    def remove_abandoned(self) -> None:
        """Delete what processes that were killed left half written beside the shards."""
        for folder in (self.folder, self.folder / "evidence"):
            remove_abandoned(folder)

    def _array_names(self) -> list[str]:
        return ["frame_index", "pts_seconds", *(["landmarks68"] if self.landmarks68 else []), "crops"]

    def _record(self, clip_id: str) -> Record:
        record = self._shards.find(clip_id)
        if record is None:
            raise DataError(f"{self.folder}: clip {clip_id} is not in it; run extract_faces again")
        return record

    def _index_row(self, item: ClipItem) -> IndexRow:
        record = self._record(item.clip_id)
        num_seen = record.arrays["crops"].shape[0] if record.arrays else 0
        return IndexRow(
            clip_id=item.clip_id,
            path=str(item.path),
            label=item.label,
            subject=item.subject,
            split=item.split,
            num_frames=record.facts["num_frames"],
            num_seen=num_seen,
            num_people=record.facts["num_people"],
            source=item.source or item.clip_id,
            fields=item.fields,
        )


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
        if version == _FORMAT_VERSION:
            dict(header["geometry"]), dict(header["provenance"]), bool(header["landmarks68"])
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise DataError(f"{path}: not readable ({error})") from error
    if version != _FORMAT_VERSION:
        raise DataError(
            f"{path}: format version {version}, this release reads {_FORMAT_VERSION}; "
            "run extract_faces again, into a new folder"
        )
    return header
