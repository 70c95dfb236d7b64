"""FER2013 and its FER+ relabelling: 48x48 gray faces from the official tables or class folders.

Sources: Goodfellow et al. 2013, "Challenges in Representation Learning" (FER2013);
Barsoum et al. 2016, "Training Deep Networks for Facial Expression Recognition with
Crowd-Sourced Label Distribution" (FER+).
"""

import csv
import gzip
import lzma
import zlib
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from emotemporal.errors import DataError
from emotemporal.labels import FER7, FERPLUS8, label_index

SPLITS = ("Training", "PublicTest", "PrivateTest")
_SIDE = 48
# Column order of the FER+ table; the last two are no emotions.
_FERPLUS_COLUMNS = (
    *("neutral", "happiness", "surprise", "sadness", "anger", "disgust", "fear", "contempt"),
    *("unknown", "NF"),
)
_PICTURE_SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".webp"}


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

    def __len__(self) -> int:
        return len(self.images)

    def split(self, name: str) -> "FaceImages":
        """Return the rows of one split.

        Raises:
            DataError: there are none.
        """
        rows = self.splits == name
        if not rows.any():
            known = ", ".join(sorted(set(self.splits)))
            raise DataError(f"split '{name}' is empty, found {known}")
        votes = None if self.votes is None else self.votes[rows]
        return FaceImages(self.images[rows], self.labels[rows], self.splits[rows], votes)


def is_fer2013(path: str | Path) -> bool:
    """Return whether something looks like FER2013: a csv with a column `pixels`, or folders of pictures."""
    path = Path(path)
    if path.is_dir():
        return any(child.suffix.lower() in _PICTURE_SUFFIXES for child in path.glob("*/*/*"))
    openers = {".gz": gzip.open, ".xz": lzma.open}
    try:
        with openers.get(path.suffix.lower(), open)(path, "rt", encoding="utf-8") as stream:
            header = stream.readline(1000)
    except (OSError, UnicodeDecodeError, EOFError, lzma.LZMAError, zlib.error):
        return False
    return "pixels" in [name.strip().lower() for name in header.split(",")]


def read_fer2013(path: str | Path, *, ferplus: str | Path | None = None) -> FaceImages:
    """Read FER2013 from its csv (plain, .gz, .xz; also Kaggle's `icml_face_data.csv`) or class folders.

    Class folders are `<split>/<emotion>/*.png` with splits named as in `SPLITS`, or `train` and
    `test` (then read as Training and PrivateTest).

    Args:
        path: the table or the folder.
        ferplus: `fer2013new.csv`, whose rows stand in the table's order.
    Raises:
        DataError: a malformed row or unreadable picture, named with its file and line.
    """
    path = Path(path)
    if not path.exists():
        raise DataError(f"{path}: no such file or folder; expected fer2013.csv or a folder of class folders")
    if path.is_dir():
        if ferplus is not None:
            raise DataError(f"{path}: FER+ votes follow the rows of fer2013.csv, not class folders")
        return _read_class_folders(path)
    faces = _read_table(path)
    if ferplus is None:
        return faces
    return FaceImages(faces.images, faces.labels, faces.splits, read_ferplus_votes(ferplus, faces.splits))


def _read_table(path: Path) -> FaceImages:
    import pandas as pd

    try:
        table = pd.read_csv(path)
    except (ValueError, OSError, EOFError, lzma.LZMAError, zlib.error) as error:
        raise DataError(f"{path}: not a readable csv table ({error})") from error
    table.columns = [str(name).strip().lower() for name in table.columns]
    missing = {"emotion", "pixels", "usage"} - set(table.columns)
    if missing:
        raise DataError(
            f"{path}: lacks column {', '.join(sorted(missing))}, found {', '.join(table.columns)}"
        )
    images = np.empty((len(table), _SIDE, _SIDE), dtype=np.uint8)
    for row, text in enumerate(table["pixels"]):
        try:
            values = np.array(str(text).split(), dtype=np.int64)
        except ValueError:
            values = np.empty(0)
        if values.size != _SIDE * _SIDE or values.min() < 0 or values.max() > 255:
            # Line 1 is the header.
            raise DataError(f"{path}, line {row + 2}: pixels must be {_SIDE * _SIDE} numbers from 0 to 255")
        images[row] = values.reshape(_SIDE, _SIDE)
    labels = pd.to_numeric(table["emotion"], errors="coerce")
    wrong = ~labels.isin(range(len(FER7)))
    if wrong.any():
        row = int(np.flatnonzero(wrong)[0])
        found = table["emotion"].iloc[row]
        raise DataError(f"{path}, line {row + 2}: emotion must be 0 to {len(FER7) - 1}, found '{found}'")
    splits = table["usage"].astype(str).str.strip()
    wrong = ~splits.isin(SPLITS)
    if wrong.any():
        row = int(np.flatnonzero(wrong)[0])
        raise DataError(f"{path}, line {row + 2}: usage must be one of {', '.join(SPLITS)}")
    return FaceImages(images, labels.to_numpy(np.int64), splits.to_numpy(str))


def _read_class_folders(root: Path) -> FaceImages:
    names = {"train": "Training", "test": "PrivateTest"} | {name.lower(): name for name in SPLITS}
    folders = sorted(child for child in root.iterdir() if child.is_dir() and child.name.lower() in names)
    if not folders:
        raise DataError(f"{root}: no folder named {', '.join(sorted(names))} in it")
    images, labels, splits = [], [], []
    for folder in folders:
        for class_folder in sorted(child for child in folder.iterdir() if child.is_dir()):
            label = label_index(class_folder.name, FER7)
            for file in sorted(class_folder.iterdir()):
                if file.suffix.lower() not in _PICTURE_SUFFIXES:
                    continue
                picture = cv2.imread(str(file), cv2.IMREAD_GRAYSCALE)
                if picture is None:
                    raise DataError(f"{file}: not a readable picture")
                if picture.shape != (_SIDE, _SIDE):
                    picture = cv2.resize(picture, (_SIDE, _SIDE), interpolation=cv2.INTER_AREA)
                images.append(picture)
                labels.append(label)
                splits.append(names[folder.name.lower()])
    if not images:
        raise DataError(f"{root}: no pictures in its class folders")
    return FaceImages(np.stack(images), np.array(labels, dtype=np.int64), np.array(splits))


def read_ferplus_votes(path: str | Path, splits: np.ndarray) -> np.ndarray:
    """Read the FER+ votes that belong to the rows of FER2013.

    Args:
        path: `fer2013new.csv`.
        splits: str (N,), FER2013's own usage column, to make sure that the rows agree.
    Returns: float32 (N, 10), in the order of the FER+ table's columns.
    Raises:
        DataError: the file is missing, malformed, or of other rows.
    """
    path = Path(path)
    if not path.exists():
        raise DataError(f"{path}: no such file; expected FER+'s fer2013new.csv")
    with path.open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    if len(rows) != len(splits):
        raise DataError(f"{path}: {len(rows)} rows, but FER2013 has {len(splits)}; the tables do not match")
    votes = np.empty((len(rows), len(_FERPLUS_COLUMNS)), dtype=np.float32)
    for i, row in enumerate(rows):
        try:
            votes[i] = [float(row[name]) for name in _FERPLUS_COLUMNS]
        except (KeyError, TypeError, ValueError) as error:
            columns = ", ".join(_FERPLUS_COLUMNS)
            raise DataError(f"{path}, line {i + 2}: expected numbers in columns {columns}") from error
        if row["Usage"] != splits[i]:
            raise DataError(f"{path}, line {i + 2}: split {row['Usage']}, but FER2013 says {splits[i]}")
    return votes


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
