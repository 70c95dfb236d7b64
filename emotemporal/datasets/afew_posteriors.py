"""AFEW 2 as frame posteriors: what EmotiW 2013's winning frame network said of every face in movie clips.

    AFEW_<split>_frame_by_frame.csv   filename `<label>_<clip>-<face>-<frame>.png`, seven probabilities
    AFEW_<split>_mean.csv             clip, its label, mean probabilities

Rows stand in no order. Sources: Dhall et al. 2013, "Emotion Recognition in the Wild Challenge 2013";
Kahou et al. 2013, "Combining Modality Specific Deep Neural Networks for Emotion Recognition in Video".
"""

import csv
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.special import logsumexp

from emotemporal.datasets.sequences import ClipSequence
from emotemporal.errors import DataError
from emotemporal.labels import FER7
from emotemporal.models.classifier import FrameEvidence

SPLITS = ("train", "validation")
# AFEW's clips were stored at 25 frames a second; their numbers are the only times that are given.
FRAMES_PER_SECOND = 25.0

_NAME = re.compile(r"(?P<label>\d)_(?P<clip>\d+)-(?P<face>\d+)-(?P<frame>\d+)\.png")
_SUM_TOLERANCE = 0.01
# Below this a probability of the network's says no more than that it is small.
_MIN_PROB = 1e-4


@dataclass(frozen=True, eq=False)
class PosteriorClip:
    """One movie clip; frames stand face by face, each in order of time."""

    clip_id: str
    label: int
    """Position in `labels.FER7`."""
    face: np.ndarray
    """int64 (L,), number of the face in the clip."""
    frame_index: np.ndarray
    """int64 (L,), rises within each face."""
    probs: np.ndarray
    """float32 (L, 7), rows sum to 1."""

    def __len__(self) -> int:
        return len(self.probs)

    @property
    def scene(self) -> str:
        """Hour and minute at which the clip starts in its movie.

        Which movie is not told, so clips of one minute may be of one scene: a split that keeps them together
        keeps scenes together.
        """
        return self.clip_id[:4]


def read_afew_posteriors(folder: str | Path, split: str) -> list[PosteriorClip]:
    """Read the clips of one split, in order of their names.

    Args:
        folder: holds the tables.
        split: one of `SPLITS`.
    Raises:
        DataError: a table is missing or malformed, or the two do not fit together.
    """
    if split not in SPLITS:
        raise DataError(f"AFEW split '{split}' is unknown, expected one of {', '.join(SPLITS)}")
    labels = _read_labels(Path(folder) / f"AFEW_{split}_mean.csv")
    path = Path(folder) / f"AFEW_{split}_frame_by_frame.csv"
    rows: dict[str, list[tuple[int, int, list[float]]]] = {}
    for line, cells in _read_rows(path):
        name = _NAME.fullmatch(cells[0])
        if name is None:
            raise DataError(f"{path}, line {line}: '{cells[0]}' is not <label>_<clip>-<face>-<frame>.png")
        probs = _numbers(path, line, cells[1:])
        if not (min(probs) >= 0 and abs(sum(probs) - 1) < _SUM_TOLERANCE):
            raise DataError(f"{path}, line {line}: probabilities {probs} do not sum to 1")
        if labels.get(name["clip"]) != int(name["label"]):
            raise DataError(
                f"{path}, line {line}: clip {name['clip']} has label {name['label']}, "
                f"in the table of labels {labels.get(name['clip'], 'none')}"
            )
        rows.setdefault(name["clip"], []).append((int(name["face"]), int(name["frame"]), probs))
    missing = sorted(labels.keys() - rows.keys())
    if missing:
        raise DataError(f"{path}: no frames of {len(missing)} of {len(labels)} clips, e.g. {missing[0]}")
    clips = []
    for clip_id in sorted(rows):
        face, frame, said = zip(*sorted(rows[clip_id]), strict=True)
        found = np.array(said)
        found = (found / found.sum(1, keepdims=True)).astype(np.float32)
        clips.append(PosteriorClip(clip_id, labels[clip_id], np.array(face), np.array(frame), found))
    return clips


def to_sequence(clip: PosteriorClip) -> ClipSequence:
    """Return the face that is seen on most frames, the first of equal ones, as temporal heads take it.

    There are no embeddings: their place is taken by the log-probabilities, centred on each frame, so that
    a head still sees offset and motion.
    """
    faces, counts = np.unique(clip.face, return_counts=True)
    rows = clip.face == faces[counts.argmax()]
    log_probs = np.log(clip.probs[rows].clip(_MIN_PROB))
    embeddings = log_probs - log_probs.mean(1, keepdims=True)
    evidence = FrameEvidence(embeddings, log_probs - logsumexp(log_probs, axis=1, keepdims=True))
    seconds = (clip.frame_index[rows] - clip.frame_index[rows][0]) / FRAMES_PER_SECOND
    return ClipSequence(clip.clip_id, clip.label, clip.scene, seconds, (evidence,))


def _read_labels(path: Path) -> dict[str, int]:
    labels = {}
    for line, cells in _read_rows(path):
        label = cells[1].strip()
        if label not in {str(i) for i in range(len(FER7))}:
            raise DataError(f"{path}, line {line}: label '{label}', expected 0 to {len(FER7) - 1}")
        labels[cells[0]] = int(label)
    return labels


def _read_rows(path: Path) -> Iterator[tuple[int, list[str]]]:
    """Yield number and cells of each line below the header."""
    if not path.is_file():
        raise DataError(f"{path}: no such file; the folder must hold AFEW's frame posteriors")
    with path.open(newline="", encoding="utf-8") as stream:
        reader = csv.reader(stream)
        width = len(next(reader, []))
        for line, cells in enumerate(reader, start=2):
            if width < len(FER7) + 1 or len(cells) != width:
                raise DataError(f"{path}, line {line}: {len(cells)} cells, its header has {width}")
            yield line, cells


def _numbers(path: Path, line: int, cells: list[str]) -> list[float]:
    try:
        return [float(cell) for cell in cells]
    except ValueError as error:
        raise DataError(f"{path}, line {line}: {error}") from error
