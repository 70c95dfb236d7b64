"""From a person's frames to one label for the clip."""

from collections.abc import Sequence
from typing import Literal, get_args

import numpy as np

from emotemporal.structures import ClipResult

Aggregation = Literal["head", "sum", "vote"]
AGGREGATIONS: tuple[str, ...] = get_args(Aggregation)


def aggregate_sum(probs: np.ndarray, labels: Sequence[str]) -> ClipResult:
    """Label by the highest summed probability.

    Args:
        probs: (L, C), L at least 1; rows sum to 1.
        labels: C names.
    """
    return result_from_probs(probs.mean(0, dtype=np.float64), labels)


def aggregate_vote(probs: np.ndarray, labels: Sequence[str]) -> ClipResult:
    """Label by majority: each frame votes for its most probable emotion.

    Among emotions with equally many votes the one with the highest summed probability wins; if that
    is equal too, the one that stands first in `labels`.

    Args:
        probs: (L, C), L at least 1; rows sum to 1.
        labels: C names.
    Returns: `probs` are the shares of the votes, `mean_probability` that of the winner over all frames.
    """
    votes = np.bincount(probs.argmax(1), minlength=len(labels))
    summed = probs.sum(0, dtype=np.float64)
    tied = votes == votes.max()
    winner = int(np.where(tied, summed, -np.inf).argmax())
    shares = (votes / votes.sum()).astype(np.float32)
    mean = float(summed[winner] / len(probs))
    return ClipResult(labels[winner], shares, float(shares[winner]), votes.astype(np.int64), mean)


def result_from_probs(probs: np.ndarray, labels: Sequence[str]) -> ClipResult:
    """Label by the most probable emotion of one distribution (C,)."""
    probs = (probs / probs.sum()).astype(np.float32)
    winner = int(probs.argmax())
    return ClipResult(labels[winner], probs, float(probs[winner]))
