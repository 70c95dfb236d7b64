"""Label sets and the maps between them.

The seven basic emotions stand in FER2013's order everywhere (Goodfellow et al. 2013,
"Challenges in Representation Learning"), FER+ in its own (Barsoum et al. 2016).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from types import MappingProxyType

import numpy as np

from emotemporal.errors import DataError

FER7: tuple[str, ...] = ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")
FERPLUS8: tuple[str, ...] = (
    "neutral",
    "happy",
    "surprise",
    "sad",
    "angry",
    "disgust",
    "fear",
    "contempt",
)
FER6: tuple[str, ...] = ("angry", "fear", "happy", "sad", "surprise", "neutral")
BINARY: tuple[str, ...] = ("happy", "sad")

LABEL_SETS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {"fer7": FER7, "fer6": FER6, "ferplus": FERPLUS8, "binary": BINARY}
)
"""The sets that results can be asked for in. `fer6` counts disgust, of which FER2013 has only 436
training faces, as angry; `binary` leaves out everything but its two."""

UNCERTAIN = "uncertain"
"""Takes the place of an emotion whose probability is below what was asked for; a label, never a class."""

# What an emotion counts as in a set that has no place of its own for it.
_MERGED = {"disgust": "angry"}
# Below this share of kept probability there is nothing but rounding to divide up.
_MIN_KEPT = 1e-6

# What data sets call the same emotion.
_SYNONYMS = {
    "anger": "angry",
    "disgusted": "disgust",
    "fearful": "fear",
    "afraid": "fear",
    "happiness": "happy",
    "happpy": "happy",
    "joy": "happy",
    "sadness": "sad",
    "surprised": "surprise",
}


def canonical_emotion(name: str) -> str:
    """Return the name this package uses for an emotion, e.g. ``"Happiness"`` -> ``"happy"``."""
    key = name.strip().lower()
    return _SYNONYMS.get(key, key)


def label_index(name: str, labels: Sequence[str]) -> int:
    """Return the position of `name` in `labels`.

    Raises:
        DataError: `name` is not in the set; the message names the nearest valid one.
    """
    key = canonical_emotion(name)
    if key in labels:
        return list(labels).index(key)
    near = get_close_matches(key, labels, n=1)
    hint = f"; did you mean '{near[0]}'?" if near else ""
    raise DataError(f"unknown emotion '{name}', expected one of {', '.join(labels)}{hint}")


def counts_as(name: str, labels: Sequence[str]) -> str | None:
    """Return which of `labels` an emotion counts as: itself, what it is merged with, or None."""
    for candidate in (name, _MERGED.get(name)):
        if candidate in labels:
            return candidate
    return None


@dataclass(frozen=True)
class LabelMap:
    """What each emotion of one set counts as in another."""

    source: tuple[str, ...]
    target: tuple[str, ...]
    positions: tuple[int, ...]
    """Place in `target` of each of `source`; -1 for an emotion that is left out."""

    @classmethod
    def between(cls, source: Sequence[str], target: Sequence[str]) -> "LabelMap":
        """Map equal names to each other, disgust to angry where only that is there, and leave out the rest.

        Raises:
            DataError: nothing in `source` counts as one of `target`.
        """
        names = [counts_as(name, target) for name in source]
        missing = [name for name in target if name not in names]
        if missing:
            raise DataError(f"{', '.join(missing)} cannot be told from {', '.join(source)}")
        positions = tuple(-1 if name is None else list(target).index(name) for name in names)
        return cls(tuple(source), tuple(target), positions)

    def map_labels(self, labels: np.ndarray) -> np.ndarray:
        """Turn positions in `source`, int64 (N,), into positions in `target`.

        What is left out becomes -1, and what was -1 stays so.
        """
        return np.where(labels >= 0, np.array(self.positions, dtype=np.int64)[labels], -1)

    def merge_probs(self, probs: np.ndarray) -> np.ndarray:
        """Add up what counts as the same and scale what is kept to sum to 1.

        Only calibrated probabilities add up; logits do not.

        Args:
            probs: float (..., S), summing to 1 over `source`.
        Returns: same dtype (..., T), summing to 1 over `target`; uniform where all that was probable is
            left out.
        """
        if self.source == self.target:
            return probs
        matrix = np.zeros((len(self.source), len(self.target)))
        for row, place in enumerate(self.positions):
            if place >= 0:
                matrix[row, place] = 1.0
        merged = probs.astype(np.float64) @ matrix
        total = merged.sum(-1, keepdims=True)
        uniform = np.full_like(merged, 1 / len(self.target))
        return np.divide(merged, total, out=uniform, where=total >= _MIN_KEPT).astype(probs.dtype)
