"""Splits by person, never by frame or clip."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from emotemporal.errors import DataError


@dataclass(frozen=True, eq=False)
class Fold:
    """One round of a cross-validation."""

    name: str
    train: np.ndarray
    """int64, positions of the training items."""
    test: np.ndarray
    """int64, positions of the items held out."""


def subject_folds(subjects: Sequence[str], *, num_folds: int | None = None) -> list[Fold]:
    """Hold out people in turn.

    Args:
        subjects: (N,), whom each item shows.
        num_folds: None holds out one person at a time; a number deals the people, in sorted order, to
            that many folds of consecutive people.
    Raises:
        DataError: an item's subject is unknown, or there are too few people.
    """
    unknown = sum(not name for name in subjects)
    if unknown:
        raise DataError(
            f"{unknown} of {len(subjects)} clips name no subject; a split by person needs them all"
        )
    people = sorted(set(subjects))
    if num_folds is None:
        num_folds = len(people)
    if len(people) < 2 or not 2 <= num_folds <= len(people):
        raise DataError(f"{num_folds} folds need at least as many people and at least 2, found {len(people)}")
    which = np.asarray(subjects)
    folds = []
    for group in np.array_split(np.array(people), num_folds):
        held_out = np.isin(which, group)
        name = str(group[0]) if len(group) == 1 else f"{group[0]}-{group[-1]}"
        folds.append(Fold(name, np.flatnonzero(~held_out), np.flatnonzero(held_out)))
        check_leak(subjects, folds[-1])
    return folds


def check_leak(keys: Sequence[str], fold: Fold) -> None:
    """Make sure that no person (or source video) stands on both sides.

    Raises:
        DataError: one does; the message names it.
    """
    both = {keys[i] for i in fold.train} & {keys[i] for i in fold.test}
    if both:
        raise DataError(f"fold {fold.name}: {', '.join(sorted(both))} on both sides of the split")
