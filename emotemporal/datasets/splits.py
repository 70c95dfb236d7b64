"""Splits by person and by source video, never by frame or clip."""

import re
import typing
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from emotemporal.datasets.clips import some_of
from emotemporal.errors import DataError

Protocol = Literal[
    "leave-one-subject-out", "subject-folds", "ravdess-6fold", "ravdess-5fold", "train-validation"
]
PROTOCOLS: tuple[str, ...] = get_args(Protocol)

RAVDESS_6FOLD: tuple[tuple[int, ...], ...] = tuple(tuple(range(i, i + 4)) for i in range(1, 25, 4))
"""Actors held out together: 1-4, 5-8, ..., 21-24."""
RAVDESS_5FOLD: tuple[tuple[int, ...], ...] = (
    (2, 5, 14, 15, 16),
    (3, 6, 7, 13, 18),
    (10, 11, 12, 19, 20),
    (8, 17, 21, 23, 24),
    (1, 4, 9, 22),
)
"""Actors held out together (Luna-Jimenez et al. 2022, doi:10.3390/app12010327)."""

# What data sets call the same split.
_SPLIT_SYNONYMS = {
    "training": "train",
    "val": "validation",
    "valid": "validation",
    "dev": "validation",
}


@dataclass(frozen=True, eq=False)
class Fold:
    """One round of a cross-validation."""

    name: str
    train: np.ndarray
    """int64, positions of the training items."""
    test: np.ndarray
    """int64, positions of the items held out."""


def make_folds(
    protocol: str,
    *,
    subjects: Sequence[str],
    sources: Sequence[str],
    splits: Sequence[str],
    num_folds: int = 5,
) -> list[Fold]:
    """Split clips by a protocol's name.

    Args:
        protocol: one of `PROTOCOLS`.
        subjects: (N,), whom each clip shows; empty where unknown.
        sources: (N,), the video that each clip comes from.
        splits: (N,), the split that the data set puts each clip in.
        num_folds: of `subject-folds`.
    Raises:
        DataError: the clips do not allow it, or somebody would stand on both sides.
    """
    if protocol == "train-validation":
        return [train_validation_fold(splits, subjects=subjects, sources=sources)]
    if protocol in ("ravdess-6fold", "ravdess-5fold"):
        groups = RAVDESS_6FOLD if protocol == "ravdess-6fold" else RAVDESS_5FOLD
        return actor_folds(subjects, groups, sources=sources)
    return subject_folds(
        subjects, num_folds=num_folds if protocol == "subject-folds" else None, sources=sources
    )


class HasOrigin(typing.Protocol):
    """What a split must know of a clip."""

    @property
    def subject(self) -> str: ...

    @property
    def source(self) -> str: ...

    @property
    def split(self) -> str: ...


def split_clips(protocol: str, clips: Sequence[HasOrigin], *, num_folds: int = 5) -> list[Fold]:
    """Split clips by what they say of themselves; see `make_folds`."""
    return make_folds(
        protocol,
        subjects=[clip.subject for clip in clips],
        sources=[clip.source for clip in clips],
        splits=[clip.split for clip in clips],
        num_folds=num_folds,
    )


def subject_folds(
    subjects: Sequence[str], *, num_folds: int | None = None, sources: Sequence[str] = ()
) -> list[Fold]:
    """Hold out people in turn.

    Args:
        subjects: (N,), whom each item shows.
        num_folds: None holds out one person at a time; a number deals the people, in sorted order, to
            that many folds of consecutive people.
        sources: (N,), the video that each item comes from, where known.
    Raises:
        DataError: an item's subject is unknown, there are too few people, or a source is torn apart.
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
    folds = []
    for group in np.array_split(np.array(people), num_folds):
        name = str(group[0]) if len(group) == 1 else f"{group[0]}-{group[-1]}"
        # Folds become files: none may lead out of their folder, and two that differ stay two.
        name = re.sub(r"[/\\%\0]|^\.", lambda sign: f"%{ord(sign[0]):02X}", name)
        folds.append(_hold_out(name, np.isin(np.asarray(subjects), group), subjects, sources))
    return folds


def actor_folds(
    subjects: Sequence[str], groups: Sequence[Sequence[int]], *, sources: Sequence[str] = ()
) -> list[Fold]:
    """Hold out given groups of numbered actors in turn.

    Args:
        subjects: (N,), actors' numbers, with or without leading zeros.
        groups: numbers of the actors held out together.
        sources: (N,), the video that each item comes from, where known.
    Raises:
        DataError: a subject is none of these actors, none of a group is there, or a source is torn apart.
    """
    known = {actor for group in groups for actor in group}
    strangers = sorted({name for name in subjects if not name.isdecimal() or int(name) not in known})
    if strangers:
        raise DataError(
            f"the actors of this protocol are {min(known)} to {max(known)}, "
            f"found {some_of([name or '(unknown)' for name in strangers])}"
        )
    actors = np.array([int(name) for name in subjects])
    folds = []
    for group in groups:
        name = "-".join(str(actor) for actor in group)
        held_out = np.isin(actors, group)
        if not held_out.any() or held_out.all():
            raise DataError(
                f"this protocol holds out actors {name} together; clips of them and of others are needed"
            )
        folds.append(_hold_out(name, held_out, subjects, sources))
    return folds


def train_validation_fold(
    splits: Sequence[str], *, subjects: Sequence[str] = (), sources: Sequence[str] = ()
) -> Fold:
    """Take the data set's own split; clips of other splits stand on neither side.

    Raises:
        DataError: a side is empty, or somebody stands on both.
    """
    names = np.array([_SPLIT_SYNONYMS.get(name.lower(), name.lower()) for name in splits])
    fold = Fold("validation", np.flatnonzero(names == "train"), np.flatnonzero(names == "validation"))
    if not len(fold.train) or not len(fold.test):
        found = ", ".join(f"{num} of '{name}'" for name, num in sorted(Counter(splits).items()))
        raise DataError(f"train-validation needs clips of splits train and validation, found {found}")
    check_leak(fold, subjects=subjects, sources=sources)
    return fold


def check_leak(fold: Fold, *, subjects: Sequence[str] = (), sources: Sequence[str] = ()) -> None:
    """Make sure that no person and no source video stands on both sides.

    Args:
        fold: the split.
        subjects: (N,), empty names are unknown and not compared.
        sources: (N,), the same.
    Raises:
        DataError: one does; the message names it.
    """
    for kind, keys in (("subjects", subjects), ("source videos", sources)):
        if not keys:
            continue
        both = ({keys[i] for i in fold.train} & {keys[i] for i in fold.test}) - {""}
        if both:
            raise DataError(f"fold {fold.name}: {kind} on both sides of the split: {some_of(sorted(both))}")


def _hold_out(name: str, held_out: np.ndarray, subjects: Sequence[str], sources: Sequence[str]) -> Fold:
    fold = Fold(name, np.flatnonzero(~held_out), np.flatnonzero(held_out))
    check_leak(fold, subjects=subjects, sources=sources)
    return fold
