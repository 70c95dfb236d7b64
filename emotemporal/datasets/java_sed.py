"""Java-SED, acted emotional speech in Javanese (Arifin et al. 2022).

Files are `AA-SS-EE_RR.mp4`: actor, sentence, emotion, repetition.
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
)
from emotemporal.datasets.manifest import read_table

_NAME = re.compile(r"(\d\d)-(\d\d)-(0[1-6])_(\d\d)")
_EMOTIONS = {"01": "neutral", "02": "sad", "03": "happy", "04": "surprise", "05": "fear", "06": "angry"}


def is_java_sed(root: Path) -> bool:
    """Return whether most videos of a folder are named as Java-SED names them."""
    return mostly_named(root, _NAME)


def read_java_sed(root: Path) -> ClipSet:
    """List the videos of Java-SED: by its `labels.csv` where that is there, else by their names.

    Raises:
        DataError: the table is faulty, videos it lists are missing, or there are none.
    """
    if (root / "labels.csv").is_file():
        found = read_table(root / "labels.csv")
        return ClipSet("java_sed", found.items, found.notes)
    items, strangers = [], []
    for video in find_videos(root):
        match = _NAME.fullmatch(video.stem)
        if match is None:
            strangers.append(video.relative_to(root))
            continue
        actor, sentence, emotion, repetition = match.groups()
        items.append(
            ClipItem(
                path=video,
                clip_id=video.stem,
                label=_EMOTIONS[emotion],
                subject=actor,
                fields={"sentence": sentence, "emotion_code": emotion, "repetition": repetition},
            )
        )
    notes = note_on_strangers("Java-SED", strangers)
    return ClipSet("java_sed", checked_items(items, root), tuple(notes))
