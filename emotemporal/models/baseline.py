"""A personal baseline: features told against what is usual for the person.

What a face looks like at rest differs more between people than a weak expression moves it. Where several
clips of one person are at hand, their mean stands in for the face at rest; no label is needed. This assumes
that the clips show varied expressions: of somebody who is happy in all of them, happiness itself would be
taken away. It fits features of any kind, of landmarks as of embeddings.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from emotemporal.errors import DataError

_MIN_ITEMS = 2
# As many clips' worth of trust in the spread that is typical of people: a few clips tell it badly.
_TYPICAL_ITEMS = 8


def centre_on_person(
    features: np.ndarray, people: Sequence | np.ndarray, *, rescale: bool = False
) -> np.ndarray:
    """Take from each person's features their mean over that person's items.

    Args:
        features: (N, ..., D), finite; an item is a clip, or a frame.
        people: (N,), whom each item shows.
        rescale: also divide by the person's standard deviation, so that a lively and a calm face span
            the same range; features that never change for a person stay 0.
    Returns: float64, the shape of `features`; every person's mean is 0.
    Raises:
        DataError: somebody has a single item, of which nothing would be left.
    """
    features = np.asarray(features, np.float64)
    names, which, counts = np.unique(np.asarray(people), return_inverse=True, return_counts=True)
    if len(which) != len(features):
        raise DataError(f"{len(features)} items, but people are named for {len(which)}")
    if (counts < _MIN_ITEMS).any():
        name = names[counts.argmin()]
        raise DataError(
            f"person {name} has {counts.min()} clip; a personal baseline needs at least {_MIN_ITEMS} of each"
        )
    centred = np.empty_like(features)
    for person in range(len(names)):
        rows = which == person
        centred[rows] = features[rows] - features[rows].mean(axis=0)
        if rescale:
            spread = centred[rows].std(axis=0)
            # What is left of a constant after subtracting its rounded mean is no spread.
            constant = spread <= 1e-9 * (1 + np.abs(features[rows]).max(axis=0))
            centred[rows] /= np.where(constant, 1.0, spread)
            centred[rows] *= ~constant
    return centred


@dataclass(frozen=True, eq=False)
class PersonalBaseline:
    """What is usual for one person, from a few clips of theirs."""

    centre: np.ndarray
    """float64 (..., 1, D)."""
    spread: np.ndarray
    """float64 (..., 1, D), positive."""

    @classmethod
    def of_clips(cls, features: np.ndarray, typical_spread: np.ndarray) -> "PersonalBaseline":
        """Measure it.

        Args:
            features: (..., K, D), of K clips of one person.
            typical_spread: (D,), standard deviation of the features within a person, over people.
        """
        num = features.shape[-2]
        variance = num * features.var(axis=-2, keepdims=True) + _TYPICAL_ITEMS * np.square(typical_spread)
        spread = np.sqrt(variance / (num + _TYPICAL_ITEMS))
        return cls(features.mean(axis=-2, keepdims=True), np.where(spread > 0, spread, 1.0))

    def apply(self, features: np.ndarray) -> np.ndarray:
        """Tell clips of the person against it, (..., N, D) -> (..., N, D)."""
        return (features - self.centre) / self.spread


def typical_spread(features: np.ndarray, people: Sequence | np.ndarray) -> np.ndarray:
    """Return how much the features vary within a person: (..., N, D) and (N,) -> (D,)."""
    whose = np.asarray(people)
    within = [features[..., whose == person, :].var(axis=-2) for person in np.unique(whose)]
    return np.sqrt(np.mean(within, axis=0).reshape(-1, features.shape[-1]).mean(axis=0))
