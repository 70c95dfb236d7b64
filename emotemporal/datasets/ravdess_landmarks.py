"""RAVDESS as landmarks: 68 points of every frame of the speech clips, from one table per actor.

Sources: Livingstone & Russo 2018, "The Ryerson Audio-Visual Database of Emotional Speech and Song
(RAVDESS)"; the tables `Actor_XX_landmarks.csv` hold dlib's 68 points in iBUG's order.
"""

import hashlib
import lzma
import re
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np

from emotemporal.datasets.splits import RAVDESS_5FOLD, RAVDESS_6FOLD, Fold, check_leak
from emotemporal.errors import DataError
from emotemporal.files import replacing

EMOTIONS: tuple[str, ...] = ("neutral", "calm", "happy", "sad", "angry", "fear", "disgust", "surprise")
"""In the order of the file names' third field, which counts from 1."""
FOLDS_OF_ACTORS: dict[str, tuple[tuple[int, ...], ...]] = {"6fold": RAVDESS_6FOLD, "5fold": RAVDESS_5FOLD}
"""Actors held out together, for each protocol."""
FRAME_RATE = 30000 / 1001
"""Of every RAVDESS video, in frames a second: the tables count frames and tell no times."""
_TABLES = "Actor_*_landmarks.csv*"
_NAME = re.compile(r"(\d\d)-(\d\d)-(\d\d)-(\d\d)-(\d\d)-(\d\d)-(\d\d)(\.\w+)?")
_COLUMNS = [f"pt{i}.{axis}" for axis in "xy" for i in range(1, 69)]


@dataclass(frozen=True, eq=False)
class RavdessLandmarks:
    """Landmarks of N clips, their frames one after the other."""

    names: np.ndarray
    """str (N,), file names without suffix, as `02-01-06-01-02-01-12`."""
    first_rows: np.ndarray
    """int64 (N + 1,), where each clip's frames begin; the last is F."""
    frame_index: np.ndarray
    """int64 (F,), in the source video; a frame without a face has no row."""
    points: np.ndarray
    """float32 (F, 68, 2), x and y in pixels of the 1280x720 video."""
    modality: np.ndarray
    """int64 (N,): 1 sound and picture, 2 picture only, 3 sound only."""
    vocal_channel: np.ndarray
    """int64 (N,): 1 speech, 2 song."""
    labels: np.ndarray
    """int64 (N,), positions in `EMOTIONS`."""
    intensity: np.ndarray
    """int64 (N,): 1 normal, 2 strong; neutral has no strong one."""
    statement: np.ndarray
    """int64 (N,): 1 "Kids are talking by the door", 2 "Dogs are sitting by the door"."""
    repetition: np.ndarray
    """int64 (N,): 1 or 2."""
    actors: np.ndarray
    """int64 (N,), 1 to 24; odd ones are men, even ones women."""

    def __len__(self) -> int:
        return len(self.names)

    def clip(self, i: int) -> tuple[np.ndarray, np.ndarray]:
        """Return one clip's landmarks, float32 (L, 68, 2), and their times in seconds, float64 (L,)."""
        rows = slice(self.first_rows[i], self.first_rows[i + 1])
        return self.points[rows], self.frame_index[rows] / FRAME_RATE


def read_ravdess_landmarks(folder: str | Path, *, cache: str | Path | None = None) -> RavdessLandmarks:
    """Read the tables of all actors in a folder, plain or compressed.

    Args:
        folder: holds `Actor_XX_landmarks.csv`, also as .xz or .gz.
        cache: folder to keep what was read in, since parsing takes some seconds; other tables get a cache
            of their own.
    Raises:
        DataError: no tables, or a malformed one, named with its line.
        OutputError: the cache cannot be written.
    """
    folder = Path(folder)
    tables = sorted(folder.glob(_TABLES))
    if not tables:
        raise DataError(f"{folder}: no {_TABLES} in it; expected one table of landmarks per actor")
    if cache is None:
        return _read_tables(tables)
    # Sizes and times, not contents: to hash them takes as long as it saves.
    found = [(str(t.resolve()), t.stat().st_size, t.stat().st_mtime_ns) for t in tables]
    key = hashlib.sha256(repr(found).encode()).hexdigest()[:16]
    file = Path(cache) / f"ravdess_landmarks-{key}.npz"
    if file.is_file():
        with np.load(file) as arrays:
            return RavdessLandmarks(**arrays)
    landmarks = _read_tables(tables)
    file.parent.mkdir(parents=True, exist_ok=True)
    with replacing(file) as temporary:
        np.savez(temporary, **{field.name: getattr(landmarks, field.name) for field in fields(landmarks)})
    return landmarks


def actor_folds(groups: Sequence[Sequence[int]], actors: np.ndarray) -> list[Fold]:
    """Return one round for each group of actors that are held out together.

    Args:
        groups: of actors; a group of which nobody is there is left out, an actor in none takes no part.
        actors: int (N,), whom each clip shows.
    """
    known = np.isin(actors, np.concatenate(groups))
    folds = []
    for group in groups:
        held_out = np.isin(actors, group)
        if held_out.any():
            name = "-".join(map(str, group))
            folds.append(Fold(name, np.flatnonzero(known & ~held_out), np.flatnonzero(held_out)))
            check_leak(folds[-1], subjects=[str(actor) for actor in actors])
    return folds


def _read_tables(tables: Sequence[Path]) -> RavdessLandmarks:
    names, lengths, frames, points = [], [], [], []
    for table in tables:
        rows, of_frames, of_points = _read_table(table)
        order = np.lexsort([of_frames, rows])
        rows, of_frames, of_points = rows[order], of_frames[order], of_points[order]
        of_clips, counts = np.unique(rows, return_counts=True)
        twice = (np.diff(of_frames) == 0) & (rows[1:] == rows[:-1])
        if twice.any():
            row = int(np.flatnonzero(twice)[0])
            raise DataError(f"{table}: frame {of_frames[row]} of {rows[row]} occurs twice")
        names += of_clips.tolist()
        lengths += counts.tolist()
        frames.append(of_frames)
        points.append(of_points)
    if len(set(names)) < len(names):
        name = max(names, key=names.count)
        raise DataError(f"{tables[0].parent}: clip {name} occurs in more than one table")
    values = np.array([[int(part) for part in name.split("-")] for name in names], dtype=np.int64)
    return RavdessLandmarks(
        np.array(names),
        np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
        np.concatenate(frames),
        np.concatenate(points),
        modality=values[:, 0],
        vocal_channel=values[:, 1],
        labels=values[:, 2] - 1,
        intensity=values[:, 3],
        statement=values[:, 4],
        repetition=values[:, 5],
        actors=values[:, 6],
    )


def _read_table(path: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Clip names str (R,), frame numbers int64 (R,), points float32 (R, 68, 2) of one table."""
    import pandas as pd

    try:
        table = pd.read_csv(path)
    except (ValueError, OSError, EOFError, lzma.LZMAError, zlib.error) as error:
        raise DataError(f"{path}: not a readable csv table ({error})") from error
    missing = [name for name in ("fname", "frame_ct", *_COLUMNS) if name not in table.columns]
    if missing:
        raise DataError(f"{path}: lacks column {missing[0]}; expected fname, frame_ct, pt1.x to pt68.y")
    numbers = table[["frame_ct", *_COLUMNS]].apply(pd.to_numeric, errors="coerce").to_numpy(np.float64)
    wrong = ~np.isfinite(numbers).all(1)
    if wrong.any():
        # Line 1 is the header.
        raise DataError(
            f"{path}, line {int(wrong.argmax()) + 2}: expected numbers in frame_ct and all points"
        )
    names = {}
    for text in table["fname"].unique():
        match = _NAME.fullmatch(str(text))
        if match is None or not 1 <= int(match[3]) <= len(EMOTIONS):
            line = int((table["fname"] == text).to_numpy().argmax()) + 2
            raise DataError(f"{path}, line {line}: '{text}' is no RAVDESS name such as 02-01-06-01-02-01-12")
        names[text] = str(text).partition(".")[0]
    points = numbers[:, 1:].reshape(-1, 2, 68).transpose(0, 2, 1)
    return table["fname"].map(names).to_numpy(str), numbers[:, 0].astype(np.int64), points.astype(np.float32)
