"""Data sets by name, and which of them a folder holds."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from emotemporal.datasets.afew import is_afew, read_afew
from emotemporal.datasets.clips import KNOWN_EMOTIONS, ClipSet, find_videos, some_of
from emotemporal.datasets.crema_d import is_crema_d, read_crema_d
from emotemporal.datasets.java_sed import is_java_sed, read_java_sed
from emotemporal.datasets.manifest import MANIFEST_NAMES, find_manifest, read_folders, read_table
from emotemporal.datasets.ravdess import is_ravdess, read_ravdess
from emotemporal.errors import DataError, UsageError
from emotemporal.labels import canonical_emotion


@dataclass(frozen=True)
class _Reader:
    recognise: Callable[[Path], bool]
    """Of an existing path."""
    read: Callable[..., ClipSet]
    layout: str


def _is_manifest(path: Path) -> bool:
    return find_manifest(path) is not None


def _read_manifest(path: Path) -> ClipSet:
    table = find_manifest(path)
    if table is None:
        raise DataError(f"{path}: holds neither of {', '.join(MANIFEST_NAMES)}")
    return read_table(table)


def _is_folders(root: Path) -> bool:
    return any(canonical_emotion(video.parent.name) in KNOWN_EMOTIONS for video in find_videos(root))


def _in_folder(recognise: Callable[[Path], bool]) -> Callable[[Path], bool]:
    """Let a manifest that somebody wrote for a known data set have its way."""
    return lambda path: path.is_dir() and not (path / MANIFEST_NAMES[0]).is_file() and recognise(path)


# In the order in which they are tried: Java-SED comes with a labels.csv of its own.
_READERS = {
    "java_sed": _Reader(_in_folder(is_java_sed), read_java_sed, "AA-SS-EE_RR.mp4"),
    "manifest": _Reader(_is_manifest, _read_manifest, "a csv with path,label[,subject,split]"),
    "ravdess": _Reader(_in_folder(is_ravdess), read_ravdess, "Actor_XX/MM-VV-EE-II-SS-RR-AA.mp4"),
    "crema_d": _Reader(_in_folder(is_crema_d), read_crema_d, "1001_DFA_ANG_XX.flv"),
    "afew": _Reader(_in_folder(is_afew), read_afew, "Train_AFEW/<Emotion>/*.avi"),
    "folders": _Reader(_in_folder(_is_folders), read_folders, "[<split>/]<emotion>/<video>"),
}
DATASETS = tuple(_READERS)


def read_clips(
    path: str | Path,
    dataset: str = "auto",
    *,
    modality: str | None = None,
    channel: str | None = None,
    merge_calm: bool = True,
) -> ClipSet:
    """List the labelled videos of a data set as it was downloaded.

    Args:
        path: a folder, or a manifest csv.
        dataset: one of `DATASETS`, or `auto` for what the names in it look like.
        modality: of RAVDESS: `audio-video` or `video-only`; None takes what there is.
        channel: of RAVDESS: `speech` or `song`; None takes both.
        merge_calm: label calm clips neutral, which leaves FER2013's seven.
    Raises:
        DataError: nothing is there, it is none that is known, or it is faulty.
        UsageError: an option is not for this data set.
    """
    path = Path(path)
    if not path.exists():
        raise DataError(
            f"{path}: no such file or folder; expected a data set, a manifest csv or folders of emotions"
        )
    name = _recognise(path) if dataset == "auto" else dataset
    options = {"modality": modality, "channel": channel}
    options = {option: value for option, value in options.items() if value is not None}
    if options and name != "ravdess":
        raise UsageError(f"--{next(iter(options))} is for ravdess, {path} is read as {name}")
    if path.is_file() and name != "manifest":
        raise UsageError(f"{path}: a file, but --dataset {name} is a folder: {_READERS[name].layout}")
    found = _READERS[name].read(path, **options)
    return _calm_as_neutral(found) if merge_calm else found


def describe(found: ClipSet) -> str:
    """Say in one line what a data set holds."""
    labels = Counter(item.label for item in found.items)
    people = {item.subject for item in found.items} - {""}
    parts = [f"{len(found.items)} clips", f"{len(people)} people" if people else "people unknown"]
    parts.append(", ".join(f"{num} {label}" for label, num in sorted(labels.items())))
    return f"{found.dataset}: {'; '.join(parts)}"


def _recognise(path: Path) -> str:
    for name, reader in _READERS.items():
        if reader.recognise(path):
            return name
    inside = some_of(sorted(entry.name for entry in path.iterdir())[:5]) if path.is_dir() else path.name
    layouts = "; ".join(f"{name} ({reader.layout})" for name, reader in _READERS.items())
    raise DataError(f"{path}: none of the known data sets, holds {inside or 'nothing'}; known: {layouts}")


def _calm_as_neutral(found: ClipSet) -> ClipSet:
    items = tuple(replace(item, label="neutral") if item.label == "calm" else item for item in found.items)
    num_calm = sum(item.label == "calm" for item in found.items)
    if not num_calm:
        return found
    note = f"{num_calm} calm clips are labelled neutral"
    return ClipSet(found.dataset, items, (*found.notes, note))
