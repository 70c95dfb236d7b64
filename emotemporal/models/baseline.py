"""A personal baseline: features told against what is usual for the person.

What a face looks like at rest differs more between people than a weak expression moves it. Where several
clips of one person are at hand, their mean stands in for the face at rest; no label is needed. This assumes
that the clips show varied expressions: of somebody who is happy in all of them, happiness itself would be
taken away. It fits features of any kind, of landmarks as of embeddings.
"""

from collections.abc import Sequence

import numpy as np

from emotemporal.errors import DataError

_MIN_ITEMS = 2


def centre_on_person(features: np.ndarray, people: Sequence, *, rescale: bool = False) -> np.ndarray:
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
