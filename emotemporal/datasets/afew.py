"""AFEW as it was given out for the EmotiW challenges (Dhall et al. 2012, doi:10.1109/MMUL.2012.26).

Files are `Train_AFEW/<Emotion>/<number>.avi` and `Val_AFEW/<Emotion>/<number>.avi`, or the same in `Train`
and `Val`; the clips of `Test_AFEW` come without labels.
"""

import re
from collections import Counter
from pathlib import Path

from emotemporal.datasets.clips import (
    ClipItem,
    ClipSet,
    checked_items,
    find_videos,
    mostly_named,
    safe_id,
    some_of,
)
from emotemporal.errors import DataError
from emotemporal.labels import FER7, canonical_emotion, label_index

_SPLITS = {
    "train_afew": "train",
    "train": "train",
    "val_afew": "validation",
    "val": "validation",
    "validation": "validation",
    "test_afew": "test",
    "test": "test",
}
_NUMBER = re.compile(r"\d{9}")
_OWN_NAMES = ("train_afew", "val_afew", "test_afew")


def is_afew(root: Path) -> bool:
    """Return whether a folder holds AFEW's own folders, or plain ones with clips that are numbered as its."""
    folders = {path.name.lower() for path in root.iterdir() if path.is_dir()}
    return not folders.isdisjoint(_OWN_NAMES) or (
        not folders.isdisjoint(_SPLITS) and mostly_named(root, _NUMBER)
    )


def read_afew(root: Path) -> ClipSet:
    """List the labelled videos of AFEW with the split that their folder says.

    Neither people nor films are named, so that a clip's number is all that is known of its source.

    Raises:
        DataError: a folder of training or validation is no emotion, or there are no videos.
    """
    items, strangers = [], []
    unlabelled: Counter[str] = Counter()
    for video in find_videos(root):
        inner = video.relative_to(root)
        # The innermost of the folders: archives unpack to `Train_AFEW/Train_AFEW`.
        above = [part for part in inner.parts[:-1] if part.lower() in _SPLITS]
        if not above:
            strangers.append(inner)
            continue
        split = _SPLITS[above[-1].lower()]
        if split == "test" and canonical_emotion(inner.parent.name) not in FER7:
            unlabelled[above[-1]] += 1
            continue
        try:
            label = FER7[label_index(inner.parent.name, FER7)]
        except DataError as error:
            raise DataError(f"{video}: its folder is no emotion: {error}") from error
        items.append(
            ClipItem(path=video, clip_id=safe_id(inner), label=label, split=split, source=video.stem)
        )
    notes = [f"{num} videos of {name} have no labels and are left out" for name, num in unlabelled.items()]
    if strangers:
        notes.append(f"{len(strangers)} videos outside of AFEW's folders are left out: {some_of(strangers)}")
    return ClipSet("afew", checked_items(items, root), tuple(notes))
