"""Named arrays of many clips in few files, which processes that are killed at any moment leave whole.

    0000.bin        the arrays one after another, raw, each at a multiple of 64 bytes: they can be mapped
    0000.journal    a line for each clip whose bytes are on disk: the CRC-32 of what follows, then JSON with
                    clip_id, facts and, for each array, its place, dtype, shape and CRC-32

A shard is appended to by the one process that made it and by no other, ever: several workers, and several
runs, need no locks. What a killed process left behind the last whole line of a journal does not exist, and
nothing is written after it. A clip that is kept twice is the one in the later shard, there the later line.
"""

import json
import os
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from emotemporal.errors import OutputError

_ALIGNMENT = 64
_SHARD_BYTES = 256 * 2**20
"""A shard of this length is not appended to any more: small enough to copy, large enough to be few."""


@dataclass(frozen=True)
class StoredArray:
    """Where an array lies in its shard."""

    offset: int
    dtype: str
    shape: tuple[int, ...]
    crc32: int

    def __post_init__(self) -> None:
        places = (self.offset, *self.shape)
        if not all(type(number) is int and number >= 0 for number in places):
            raise ValueError(f"places and shapes are whole numbers from 0, found {places}")
        if np.dtype(self.dtype).kind not in "biuf":
            raise ValueError(f"arrays are of plain numbers, found {self.dtype}")

    @property
    def num_bytes(self) -> int:
        return prod(self.shape) * np.dtype(self.dtype).itemsize


@dataclass(frozen=True, eq=False)
class Record:
    """One clip as a journal tells of it."""

    shard: str
    facts: Mapping[str, Any]
    """What is known of it besides its arrays, as JSON gives it back."""
    arrays: Mapping[str, StoredArray]


class ShardFolder:
    """The shards of a folder: what was whole when they were last looked at, and what this object wrote.

    Can be sent to other processes, which then write shards of their own.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._records: dict[str, Record] | None = None
        self._maps: dict[str, np.memmap] = {}
        # The shard this object appends to, and the process that made it: a forked child makes another.
        self._own: tuple[int, str] | None = None

    def __reduce__(self) -> tuple[type["ShardFolder"], tuple[Path]]:
        return type(self), (self.folder,)

    def refresh(self) -> None:
        """Look again at what is there, other processes' work included."""
        self._records = None

    def find(self, clip_id: str) -> Record | None:
        """Return what is kept of a clip; its bytes are not looked at."""
        return self._known().get(clip_id)

    def append(self, clip_id: str, facts: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> None:
        """Keep a clip, whole or not at all; it is on disk when this returns.

        Args:
            clip_id: takes the place of an earlier one of that name.
            facts: anything JSON can tell.
            arrays: of plain numbers.
        Raises:
            OutputError: the disk does not take it.
        """
        known = self._known()
        own, self._own = self._own, None
        shard = own[1] if own is not None and own[0] == os.getpid() else self._claim()
        stored = {}
        try:
            with self._data(shard).open("ab") as stream:
                for name, array in arrays.items():
                    stream.write(bytes(-stream.tell() % _ALIGNMENT))
                    raw = np.ascontiguousarray(array)
                    stored[name] = StoredArray(stream.tell(), raw.dtype.str, raw.shape, zlib.crc32(raw.data))
                    stream.write(raw.data)
                _to_disk(stream)
                length = stream.tell()
            record = Record(shard, json.loads(json.dumps(facts)), stored)
            with self._journal(shard).open("ab") as stream:
                stream.write(_line(clip_id, record))
                _to_disk(stream)
        except OSError as error:
            raise OutputError(f"cannot write {self._data(shard)}: {error.strerror or error}") from error
        known[clip_id] = record
        # Only now: what an error left half written stays the end of its shard.
        if length < _SHARD_BYTES:
            self._own = (os.getpid(), shard)

    def array(self, record: Record, name: str, *, verify: bool) -> np.ndarray:
        """Return an array as a read-only view of its file.

        Args:
            record: from `find`.
            name: of the array.
            verify: compare its checksum, which reads all of it.
        Raises:
            KeyError: there is none of that name.
            OSError, ValueError: its bytes are missing or damaged.
        """
        stored = record.arrays[name]
        end = stored.offset + stored.num_bytes
        length = self._data(record.shard).stat().st_size
        if length < end:
            raise ValueError(f"{record.shard}.bin: {length} bytes, expected at least {end}")
        if stored.num_bytes == 0:
            return np.zeros(stored.shape, stored.dtype)
        # One map for a shard, since each holds a file open.
        memory = self._maps.get(record.shard)
        if memory is None or len(memory) < end:
            memory = self._maps[record.shard] = np.memmap(self._data(record.shard), np.uint8, "r")
        raw = np.asarray(memory[stored.offset : end])
        if verify and zlib.crc32(raw.data) != stored.crc32:
            raise ValueError(f"{record.shard}.bin: another checksum of {name} than the journal's")
        return raw.view(stored.dtype).reshape(stored.shape)

    def _known(self) -> dict[str, Record]:
        if self._records is None:
            self._records = {}
            for shard in self._shards(".journal"):
                # What follows the last line break was cut off.
                for line in self._journal(shard).read_bytes().split(b"\n")[:-1]:
                    self._records |= _parse(line, shard)
        return self._records

    def _claim(self) -> str:
        """Make the next shard, which nobody else will append to."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            number = max(map(int, self._shards("")), default=-1)
            while True:
                number += 1
                try:
                    self._data(f"{number:04d}").open("xb").close()
                    return f"{number:04d}"
                except FileExistsError:
                    # Another process was faster.
                    continue
        except OSError as error:
            raise OutputError(f"cannot write into {self.folder}: {error.strerror or error}") from error

    def _shards(self, suffix: str) -> list[str]:
        """Return the names of shards that have a file of this suffix, oldest first."""
        names = {path.stem for path in self.folder.glob(f"*{suffix}")}
        return sorted(filter(str.isdecimal, names), key=int)

    def _data(self, shard: str) -> Path:
        return self.folder / f"{shard}.bin"

    def _journal(self, shard: str) -> Path:
        return self.folder / f"{shard}.journal"


def _to_disk(stream: Any) -> None:
    stream.flush()
    os.fsync(stream.fileno())


def _line(clip_id: str, record: Record) -> bytes:
    arrays = {name: [a.offset, a.dtype, a.shape, a.crc32] for name, a in record.arrays.items()}
    # ASCII: file names need not be text, and JSON spells the rest out.
    text = json.dumps({"clip_id": clip_id, "facts": record.facts, "arrays": arrays}).encode()
    return b"%08x %s\n" % (zlib.crc32(text), text)


def _parse(line: bytes, shard: str) -> dict[str, Record]:
    """Return the clip of a journal's line by its id, nothing where the line is damaged."""
    checksum, _, text = line.partition(b" ")
    if checksum != b"%08x" % zlib.crc32(text):
        return {}
    try:
        found = json.loads(text)
        arrays = {
            name: StoredArray(offset, dtype, tuple(shape), crc32)
            for name, (offset, dtype, shape, crc32) in found["arrays"].items()
        }
        return {found["clip_id"]: Record(shard, found["facts"], arrays)}
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        # Whole, but not of this program.
        return {}
