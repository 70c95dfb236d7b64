"""RAVDESS as it is downloaded (Livingstone & Russo 2018, doi:10.1371/journal.pone.0196391).

Files are `Actor_XX/MM-VV-EE-II-SS-RR-AA.mp4`: modality, vocal channel, emotion, intensity, statement,
repetition, actor. The archives unpack to such folders within `Video_Speech_Actor_XX` and the like.
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

_NAME = re.compile(r"\d\d(-\d\d){6}")
MODALITIES = {"01": "audio-video", "02": "video-only", "03": "audio-only"}
CHANNELS = {"01": "speech", "02": "song"}
_CODES = {
    "modality": MODALITIES,
    "channel": CHANNELS,
    "emotion": {
        "01": "neutral",
        "02": "calm",
        "03": "happy",
        "04": "sad",
        "05": "angry",
        "06": "fear",
        "07": "disgust",
        "08": "surprise",
    },
    "intensity": {"01": "normal", "02": "strong"},
    "statement": {"01": "kids", "02": "dogs"},
    "repetition": {"01": "1", "02": "2"},
    "actor": {f"{actor:02d}": f"{actor:02d}" for actor in range(1, 25)},
}


def is_ravdess(root: Path) -> bool:
    """Return whether most videos of a folder are named as RAVDESS names them."""
    return mostly_named(root, _NAME)


def read_ravdess(root: Path, *, modality: str = "any", channel: str = "any") -> ClipSet:
    """List the videos of RAVDESS with its eight labels.

    A take is there both with and without sound; it is listed once, with sound where both are, and its
    source is the name without the modality.

    Args:
        root: folder above the actors' folders or archives' folders.
        modality: `audio-video`, `video-only` or `any`.
        channel: `speech`, `song` or `any`.
    Raises:
        DataError: a name has a code that does not exist, or no videos are left.
    """
    items, strangers, faults = [], [], []
    other_channel = other_modality = 0
    sound = [path for path in root.rglob("03-*.wav") if _NAME.fullmatch(path.stem)]
    num_sound = len(sound)
    for video in find_videos(root):
        if not _NAME.fullmatch(video.stem):
            strangers.append(video.relative_to(root))
            continue
        codes = dict(zip(_CODES, video.stem.split("-"), strict=True))
        wrong = [f"{name} {code}" for name, code in codes.items() if code not in _CODES[name]]
        if wrong:
            faults.append(f"{video.relative_to(root)} ({', '.join(wrong)})")
            continue
        fields = {name: _CODES[name][code] for name, code in codes.items()}
        fields["gender"] = "male" if int(codes["actor"]) % 2 else "female"
        if fields["modality"] == "audio-only":
            num_sound += 1
        elif channel not in ("any", fields["channel"]):
            other_channel += 1
        elif modality not in ("any", fields["modality"]):
            other_modality += 1
        else:
            items.append(
                ClipItem(
                    path=video,
                    clip_id=video.stem,
                    label=fields["emotion"],
                    subject=codes["actor"],
                    source=video.stem.partition("-")[2],
                    fields=fields,
                )
            )
    if faults:
        raise DataError(
            f"{root}: {len(faults)} names have codes that RAVDESS does not know: {some_of(faults)}"
        )
    # By name, the modality first: with sound before without.
    kept, num_doubles = one_file_for_each_take(sorted(items, key=lambda item: (item.clip_id, item.path)))
    notes = []
    if num_sound:
        notes.append(f"{num_sound} files of sound alone are left out")
    if other_channel:
        notes.append(f"{other_channel} videos are not {channel} and left out")
    if other_modality:
        notes.append(f"{other_modality} videos are not {modality} and left out")
    if num_doubles:
        notes.append(f"{num_doubles} videos show takes that are there already, with sound, and are left out")
    notes += note_on_strangers("RAVDESS", strangers)
    return ClipSet("ravdess", checked_items(kept, root), tuple(notes))
