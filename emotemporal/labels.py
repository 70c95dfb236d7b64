"""Label sets and the maps between them.

The seven basic emotions stand in FER2013's order everywhere (Goodfellow et al. 2013,
"Challenges in Representation Learning"), FER+ in its own (Barsoum et al. 2016).
"""

from collections.abc import Sequence
from difflib import get_close_matches

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
