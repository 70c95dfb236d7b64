"""FER2013 and its FER+ relabelling: 48x48 gray faces from the official tables or class folders.

Sources: Goodfellow et al. 2013, "Challenges in Representation Learning" (FER2013);
Barsoum et al. 2016, "Training Deep Networks for Facial Expression Recognition with
Crowd-Sourced Label Distribution" (FER+).
"""

import csv
import gzip
import lzma
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TextIO

import cv2
import numpy as np

from emotemporal.errors import DataError, VideoError
from emotemporal.labels import FER7, FERPLUS8, label_index
from emotemporal.video.pictures import require_bounded

SPLITS = ("Training", "PublicTest", "PrivateTest")
_SIDE = 48
# Column order of the FER+ table; the last two are no emotions.
_FERPLUS_COLUMNS = (
    *("neutral", "happiness", "surprise", "sadness", "anger", "disgust", "fear", "contempt"),
    *("unknown", "NF"),
)
_LABEL_TEXTS = frozenset(str(i) for i in range(len(FER7)))
_PICTURE_SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".webp"}
_OPENERS: dict[str, Callable[..., Any]] = {".gz": gzip.open, ".xz": lzma.open}
_READ_ERRORS = (OSError, ValueError, EOFError, csv.Error, lzma.LZMAError, zlib.error)
# A row of FER2013 has some 9,000 characters, all of them 300 million.
_MAX_LINE, _MAX_TABLE = 1 << 17, 1 << 32


@dataclass(frozen=True, eq=False)
class FaceImages:
    """Labelled face pictures of one or more splits."""

    images: np.ndarray
    """uint8 (N, S, S), gray."""
    labels: np.ndarray
    """int64 (N,), positions in `labels.FER7`."""
    splits: np.ndarray
    """str (N,), one of `SPLITS`."""
    votes: np.ndarray | None = None
    """float32 (N, 10), FER+ annotators' votes in the FER+ table's column order."""
    skipped: tuple[str, ...] = ()
    """What was left out as unusable, one line each with file and line."""

    def __len__(self) -> int:
        return len(self.images)

    def rows(self, chosen: np.ndarray) -> "FaceImages":
        """Return the faces chosen, bool or int (K,)."""
        votes = None if self.votes is None else self.votes[chosen]
        return FaceImages(self.images[chosen], self.labels[chosen], self.splits[chosen], votes, self.skipped)

    def split(self, name: str) -> "FaceImages":
        """Return the faces of one split.

        Raises:
            DataError: there are none.
        """
        chosen = self.splits == name
        if not chosen.any():
            known = ", ".join(sorted(set(self.splits)))
            raise DataError(f"split '{name}' is empty, found {known}")
        return self.rows(chosen)

    def with_validation(self, share: float = 0.1, seed: int = 0) -> "FaceImages":
        """Return the faces with a share of every class of Training as PublicTest, where there is none."""
        if (self.splits == "PublicTest").any():
            return self
        splits = self.splits.astype(f"<U{max(map(len, SPLITS))}")
        rng = np.random.default_rng(seed)
        for label in np.unique(self.labels):
            candidates = np.flatnonzero((self.labels == label) & (splits == "Training"))
            held_out = rng.permutation(candidates)[: round(share * len(candidates))]
            splits[held_out] = "PublicTest"
        return replace(self, splits=splits)


def is_fer2013(path: str | Path) -> bool:
    """Return whether something looks like FER2013: a csv with a column `pixels`, or folders of pictures."""
    path = Path(path)
    if path.is_dir():
        return any(child.suffix.lower() in _PICTURE_SUFFIXES for child in path.glob("*/*/*"))
    try:
        with _OPENERS.get(path.suffix.lower(), open)(path, "rt", encoding="utf-8") as stream:
            header = stream.readline(1000)
    except _READ_ERRORS:
        return False
    return "pixels" in [name.strip().lower() for name in header.split(",")]


def read_fer2013(
    path: str | Path, *, ferplus: str | Path | None = None, skip_bad: bool = False
) -> FaceImages:
    """Read FER2013 from its csv (plain, .gz, .xz; also Kaggle's `icml_face_data.csv`) or class folders.

    Class folders are `<split>/<emotion>/*.png` with splits named as in `SPLITS`, or `train`, `validation`
    (or `val`) and `test` (then read as Training, PublicTest and PrivateTest).

    Args:
        path: the table or the folder.
        ferplus: `fer2013new.csv`, whose rows stand in the table's order.
        skip_bad: leave malformed rows and unreadable pictures out and name them in `skipped`.
    Raises:
        DataError: malformed rows or unreadable pictures, the first named with its file and line; or
            nothing usable is left.
    """
    path = Path(path)
    if not path.exists():
        raise DataError(f"{path}: no such file or folder; expected fer2013.csv or a folder of class folders")
    if path.is_dir() and ferplus is not None:
        raise DataError(f"{path}: FER+ votes follow the rows of fer2013.csv, not class folders")
    faults = _Faults(skip_bad)
    faces, kept = _read_class_folders(path, faults) if path.is_dir() else _read_table(path, faults)
    votes = None
    if ferplus is not None:
        votes, counted = read_ferplus_votes(ferplus, kept, faces.splits, faults)
        faces, votes = faces.rows(counted), votes[counted]
    faults.settle()
    if len(faces) == 0:
        raise DataError(f"{path}: no usable face in it")
    return replace(faces, votes=votes, skipped=tuple(faults.lines))


class _Faults:
    """What is wrong with the data; all of it is gathered before the reading stops or goes on without."""

    def __init__(self, skip_bad: bool) -> None:
        self._skip_bad = skip_bad
        self.lines: list[str] = []

    def add(self, line: str) -> None:
        self.lines.append(line)

    def settle(self) -> None:
        """Stop unless faults are to be skipped.

        Raises:
            DataError: there are some; names the first.
        """
        if self.lines and not self._skip_bad:
            more = f" (and {len(self.lines) - 1} more like it)" if len(self.lines) > 1 else ""
            raise DataError(f"{self.lines[0]}{more}; mend it, or leave such out with --skip-bad")


def _read_table(path: Path, faults: _Faults) -> tuple[FaceImages, np.ndarray]:
    """Return the sound rows, and which of all data rows they are, bool (rows,)."""
    images, labels, splits, kept = [], [], [], []
    try:
        with _OPENERS.get(path.suffix.lower(), open)(path, "rt", encoding="utf-8", newline="") as stream:
            reader = csv.reader(_bounded_lines(stream))
            header = [name.strip().lower() for name in next(reader, [])]
            missing = {"emotion", "pixels", "usage"} - set(header)
            if missing:
                lacks, found = ", ".join(sorted(missing)), ", ".join(header)
                raise DataError(f"{path}: lacks column {lacks}, found {found}")
            for row in reader:
                if not row:
                    continue
                try:
                    image, label, split = _parse_row(header, row)
                except ValueError as error:
                    faults.add(f"{path}, line {reader.line_num}: {error}")
                    kept.append(False)
                    continue
                images.append(image)
                labels.append(label)
                splits.append(split)
                kept.append(True)
    except _READ_ERRORS as error:
        raise DataError(f"{path}: not a readable csv table ({error})") from error
    pixels = np.stack(images) if images else np.empty((0, _SIDE, _SIDE), np.uint8)
    faces = FaceImages(pixels, np.array(labels, dtype=np.int64), np.array(splits, dtype=str))
    return faces, np.array(kept, dtype=bool)


def _bounded_lines(stream: TextIO) -> Iterator[str]:
    """Yield a table's lines.

    Raises:
        ValueError: one, or all together, are too long: a small compressed file can hold a line of gigabytes.
    """
    total = 0
    while line := stream.readline(_MAX_LINE):
        total += len(line)
        if len(line) == _MAX_LINE or total > _MAX_TABLE:
            raise ValueError(f"more than {_MAX_LINE} characters in a line, or {_MAX_TABLE} in all")
        yield line


def _parse_row(header: Sequence[str], row: Sequence[str]) -> tuple[np.ndarray, int, str]:
    """Return picture, label and split of one row.

    Raises:
        ValueError: it is malformed; says how.
    """
    if len(row) != len(header):
        raise ValueError(f"expected {len(header)} cells, found {len(row)}")
    cells = dict(zip(header, (cell.strip() for cell in row), strict=True))
    emotion = cells["emotion"]
    if emotion not in _LABEL_TEXTS:
        raise ValueError(f"emotion must be 0 to {len(FER7) - 1}, found '{emotion}'")
    if cells["usage"] not in SPLITS:
        raise ValueError(f"usage must be one of {', '.join(SPLITS)}, found '{cells['usage']}'")
    try:
        values = np.array(cells["pixels"].split(), dtype=np.int64)
    except ValueError:
        values = np.empty(0, np.int64)
    if values.size != _SIDE * _SIDE or values.min() < 0 or values.max() > 255:
        raise ValueError(f"pixels must be {_SIDE * _SIDE} numbers from 0 to 255")
    return values.astype(np.uint8).reshape(_SIDE, _SIDE), int(emotion), cells["usage"]


def _read_class_folders(root: Path, faults: _Faults) -> tuple[FaceImages, np.ndarray]:
    """Return the readable pictures, and which of all pictures they are, bool (pictures,)."""
    names = {"train": "Training", "val": "PublicTest", "validation": "PublicTest", "test": "PrivateTest"}
    names |= {name.lower(): name for name in SPLITS}
    folders = sorted(child for child in root.iterdir() if child.is_dir() and child.name.lower() in names)
    if not folders:
        raise DataError(f"{root}: no folder named {', '.join(sorted(names))} in it")
    images, labels, splits, kept = [], [], [], []
    for folder in folders:
        for class_folder in sorted(child for child in folder.iterdir() if child.is_dir()):
            label = label_index(class_folder.name, FER7)
            for file in sorted(class_folder.iterdir()):
                if file.suffix.lower() not in _PICTURE_SUFFIXES:
                    continue
                picture = _read_gray(file)
                kept.append(picture is not None)
                if picture is None:
                    faults.add(f"{file}: not a readable picture")
                    continue
                if picture.shape != (_SIDE, _SIDE):
                    picture = cv2.resize(picture, (_SIDE, _SIDE), interpolation=cv2.INTER_AREA)
                images.append(picture)
                labels.append(label)
                splits.append(names[folder.name.lower()])
    if not kept:
        raise DataError(f"{root}: no pictures in its class folders")
    pixels = np.stack(images) if images else np.empty((0, _SIDE, _SIDE), np.uint8)
    faces = FaceImages(pixels, np.array(labels, dtype=np.int64), np.array(splits, dtype=str))
    return faces, np.array(kept, dtype=bool)


def _read_gray(file: Path) -> np.ndarray | None:
    """Return a picture uint8 (H, W), None where it is none, or one that would fill the memory."""
    try:
        require_bounded(file)
    except VideoError:
        return None
    return cv2.imread(str(file), cv2.IMREAD_GRAYSCALE)


def read_ferplus_votes(
    path: str | Path, kept: np.ndarray, splits: np.ndarray, faults: _Faults
) -> tuple[np.ndarray, np.ndarray]:
    """Read the FER+ votes that belong to the rows of FER2013.

    Args:
        path: `fer2013new.csv`.
        kept: bool (rows,), which rows of FER2013's table are in use.
        splits: str (N,), the usage column of those, to make sure that the tables agree.
        faults: receives malformed rows.
    Returns: float32 (N, 10), in the order of the FER+ table's columns, and which of them are sound,
        bool (N,).
    Raises:
        DataError: the file is missing, lacks a column, or is of other rows.
    """
    path = Path(path)
    if not path.exists():
        raise DataError(f"{path}: no such file; expected FER+'s fer2013new.csv")
    with path.open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    if len(rows) != len(kept):
        raise DataError(f"{path}: {len(rows)} rows, but FER2013 has {len(kept)}; the tables do not match")
    votes = np.zeros((len(splits), len(_FERPLUS_COLUMNS)), dtype=np.float32)
    sound = np.ones(len(splits), dtype=bool)
    for face, row_number in enumerate(np.flatnonzero(kept)):
        row = rows[row_number]
        # Line 1 is the header.
        where = f"{path}, line {row_number + 2}"
        if row.get("Usage") != splits[face]:
            raise DataError(f"{where}: split {row.get('Usage')}, but FER2013 says {splits[face]}")
        try:
            votes[face] = [float(row[name]) for name in _FERPLUS_COLUMNS]
        except (KeyError, TypeError, ValueError):
            faults.add(f"{where}: expected numbers in columns {', '.join(_FERPLUS_COLUMNS)}")
            sound[face] = False
    return votes, sound


def ferplus_distribution(votes: np.ndarray) -> np.ndarray:
    """Return the annotators' distribution over the eight emotions.

    Emotions with a single vote are dropped as outliers, as FER+'s authors do.

    Args:
        votes: float32 (N, 10).
    Returns: float32 (N, 8) in `labels.FERPLUS8` order; rows sum to 1, or to 0 where nobody saw an emotion.
    """
    kept = np.where(votes > 1, votes, 0)[:, : len(FERPLUS8)]
    total = kept.sum(1, keepdims=True)
    return np.divide(kept, total, out=np.zeros_like(kept), where=total > 0)


def ferplus_majority(votes: np.ndarray) -> np.ndarray:
    """Return the label most annotators agree on: FER+'s `majority` protocol.

    Args:
        votes: float32 (N, 10).
    Returns: int64 (N,), positions in `labels.FERPLUS8`; -1 where no emotion has more than half of the
        votes that remain without single ones, or the majority says unknown or no face.
    """
    kept = np.where(votes > 1, votes, 0)
    top = kept.argmax(1)
    clear = kept.max(1) > 0.5 * kept.sum(1)
    return np.where(clear & (top < len(FERPLUS8)), top, -1).astype(np.int64)
