"""CREMA-D as it is downloaded (Cao et al. 2014, doi:10.1109/TAFFC.2014.2336244).

Files are `1001_DFA_ANG_XX.flv`: actor, sentence, emotion, level.
"""

import re
from pathlib import Path

from emotemporal.datasets.clips import (
    ClipItem,
    ClipSet,
    checked_items,
    find_videos,
    mostly_named,
    note_on_strangers,
    one_file_for_each_take,
    some_of,
)
from emotemporal.errors import DataError

# One of the official files ends in a single X.
_NAME = re.compile(r"(1\d{3})_([A-Z]{3})_([A-Z]{3})_(LO|MD|HI|XX|X)")
_EMOTIONS = {
    "ANG": "angry",
    "DIS": "disgust",
    "FEA": "fear",
    "HAP": "happy",
    "NEU": "neutral",
    "SAD": "sad",
}
_LEVELS = {"LO": "low", "MD": "medium", "HI": "high", "XX": "unspecified", "X": "unspecified"}


def is_crema_d(root: Path) -> bool:
    """Return whether most videos of a folder are named as CREMA-D names them."""
    return mostly_named(root, _NAME)


def read_crema_d(root: Path) -> ClipSet:
    """List the videos of CREMA-D with its six labels.

    A clip that is there in two formats, as downloaded and converted, is listed once.

    Raises:
        DataError: a name has an emotion that does not exist, or there are no videos.
    """
    items, strangers, faults = [], [], []
    for video in find_videos(root):
        match = _NAME.fullmatch(video.stem)
        if match is None:
            strangers.append(video.relative_to(root))
            continue
        actor, sentence, emotion, level = match.groups()
        if emotion not in _EMOTIONS:
            faults.append(f"{video.relative_to(root)} ({emotion})")
            continue
        items.append(
            ClipItem(
                path=video,
                clip_id=video.stem,
                label=_EMOTIONS[emotion],
                subject=actor,
                source=video.stem,
                fields={
                    "actor": actor,
                    "sentence": sentence,
                    "emotion": _EMOTIONS[emotion],
                    "level": _LEVELS[level],
                },
            )
        )
    if faults:
        raise DataError(
            f"{root}: {len(faults)} names have emotions other than {', '.join(_EMOTIONS)}: {some_of(faults)}"
        )
    kept, num_doubles = one_file_for_each_take(items)
    notes = []
    if num_doubles:
        notes.append(f"{num_doubles} videos are there in another format already and left out")
    notes += note_on_strangers("CREMA-D", strangers)
    return ClipSet("crema_d", checked_items(kept, root), tuple(notes))
